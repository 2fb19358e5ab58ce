"""What the tests of attacks share."""

from __future__ import annotations

import pytest


@pytest.fixture
def unplotted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's folder gets no plots, which take longer than its rounds."""
    monkeypatch.setattr("fogline.monitoring.folder.find_spec", lambda _: None)
