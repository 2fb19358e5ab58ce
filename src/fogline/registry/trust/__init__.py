"""Signed metadata of releases: The Update Framework (https://theupdateframework.github.io/specification/v1.0.33/).

Who holds which key, and what it can say:

- ``root`` and ``targets`` lie with the operator, off the cloud: which keys count, and which cards people approved;
- ``rounds``, ``snapshot`` and ``timestamp`` lie with the cloud: the newest release of each model, and that it is the
  newest. They run out soon, so a stolen one is worth little, and the operator's root key replaces them.

Whoever carries the files, a fog or a web server, is not trusted with anything.
"""
