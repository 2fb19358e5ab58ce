"""A site's own policy: what may run here, when, and on what kind of machine."""
