"""``fogline board`` as a program: it prints an address, answers there, and ends with Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fogline.jobs import Job
from fogline.monitoring.folder import RunFolder
from tests.cli.test_command import command
from tests.dashboard.browser import Page
from tests.patience import PATIENCE


def test_a_run_is_served_until_ctrl_c(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", Job(name="demo", task="tasks:digits", rounds=3)).close()
    program = [sys.executable, "-c", "from fogline.cli import main; main()", "board", "run"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, cwd=tmp_path, **pipes) as board:
        assert board.stdout is not None
        page = Page(board.stdout.readline().removeprefix("Open ").strip())
        assert page.host.startswith("127.0.0.1:")
        page.sign_in()
        assert b'"title":"run"' in page.send("GET", "/api/about").read()
        assert page.send("GET", "/static/app.js").status == 200
        board.send_signal(signal.SIGINT)
        _, errors = board.communicate(timeout=PATIENCE)
    assert (board.returncode, "Traceback" in errors) == (130, False), errors


def test_what_makes_no_sense_is_a_sentence(tmp_path: Path) -> None:
    for arguments, why in (
        ((), "There are no runs in runs/"),
        (("nothing",), "There is no run in nothing"),
        (("nothing", "--cloud", "there"), "leave one of them out"),
        (("--cloud", "nowhere"), "There is no operator's folder nowhere"),
    ):
        done = command("board", *arguments, folder=tmp_path)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr
