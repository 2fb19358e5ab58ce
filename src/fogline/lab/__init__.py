"""Rehearse a deployment on one machine: nodes in network namespaces, links that are slow, lossy or cut."""
