"""What ``fogline jobs result`` says of what it has fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fogline.cli.commands.jobs import result as module
from fogline.network.cloud.results import Contents


@pytest.mark.parametrize(
    ("status", "said"), [("running", "metrics.jsonl has the rounds so far"), ("finished", "fogline show ")]
)
def test_a_result_is_shown_only_where_there_is_one(
    status: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(f'{{"format": 1, "status": "{status}"}}')

    def fetched(*_: Any) -> tuple[Contents, Path]:
        return Contents("job-1", "stopped", ()), tmp_path

    monkeypatch.setattr(module, "asked", fetched)
    module.result("job-1")
    out = capsys.readouterr().out
    assert said in out
    assert ("fogline show " in out) == (status == "finished")
