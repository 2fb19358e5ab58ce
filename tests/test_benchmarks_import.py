"""The programs that measure go with what they measure: a name that has moved is seen here, not when one is run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
THEIRS = ("peer_", "serving_litserve", "serving_mlserver")
"""Those that run in the environments of peers."""
OURS = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith(("__", *THEIRS)))


@pytest.mark.parametrize("name", OURS)
def test_it_is_importable(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")
