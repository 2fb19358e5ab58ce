"""What the tests of simulations share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _unplotted(unplotted: None) -> None: ...
