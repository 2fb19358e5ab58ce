"""Federated training on a virtual clock: the real algorithms and nodes, modelled devices and links."""
