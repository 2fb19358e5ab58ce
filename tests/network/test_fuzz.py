"""A short run of the fuzzing of everything that decodes bytes from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz.feeding import run


@pytest.mark.filterwarnings("ignore")
def test_what_decodes_refuses_in_its_own_words(tmp_path: Path) -> None:
    result = run(6000, [], 1, tmp_path)
    assert {name: target["findings"] for name, target in result["targets"].items() if target["findings"]} == {}
