from __future__ import annotations

from collections.abc import Iterator

import pytest

from fogline.lab import Lab, why_not

TREE = {"cloud": "", "fog": "cloud", "dev": "fog"}


@pytest.fixture(scope="session")
def possible() -> None:
    """Skips where namespaces cannot be had."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def lab(possible: None) -> Iterator[Lab]:
    """cloud - fog - dev, ideal links."""
    with Lab({"nodes": TREE}) as lab:
        yield lab
