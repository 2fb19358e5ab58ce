"""Nothing is left of a lab, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fogline.lab import Lab, LabError, clean, running_labs
from fogline.lab.namespaces import NAMED
from fogline.lab.state import PREFIX, labs_folder, started
from tests.lab.conftest import TREE
from tests.patience import PATIENCE

OWNER = """
import sys, time
from fogline.lab import Lab
lab = Lab({"nodes": {"cloud": "", "dev": "cloud"}}).start()
program = lab.spawn("dev", ["sleep", "1000"])
print(lab.name, lab.facts.emulator.pid, program.pid, flush=True)
time.sleep(1000)
"""


def _until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def _left(name: str) -> list[str]:
    named = [path.name for path in NAMED.iterdir() if path.name.startswith(name)] if NAMED.is_dir() else []
    return named + [path.name for path in labs_folder().iterdir() if path.name.startswith(name)]


def _owner() -> tuple[subprocess.Popen[str], str, int, int]:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name, emulator, program = owner.stdout.readline().split()
    return owner, name, int(emulator), int(program)


def test_leaving_the_block_removes_everything(lab: Lab) -> None:
    sleeper = lab.spawn(
        "dev", ["sh", "-c", "trap '' TERM; sleep 1000 & echo; wait; sleep 1000"], stdout=subprocess.PIPE
    )
    assert sleeper.stdout is not None
    sleeper.stdout.readline()
    assert _left(lab.name)
    emulator = lab.facts.emulator
    name = lab.name
    lab.close()
    assert _left(name) == []
    assert not emulator.alive()
    assert sleeper.returncode == -signal.SIGKILL
    lab.close()
    with pytest.raises(LabError, match="does not run"):
        lab.counters()


def test_an_exception_in_the_block_removes_everything(possible: None) -> None:
    name = ""
    with pytest.raises(ZeroDivisionError), Lab({"nodes": TREE}) as lab:  # noqa: PT012
        name = lab.name
        raise ZeroDivisionError
    assert _left(name) == []


def test_a_killed_owner_leaves_nothing(possible: None) -> None:
    owner, name, emulator, program = _owner()
    with owner:
        owner.kill()
    assert _until(lambda: not started(emulator))
    assert _left(name) == []
    assert _until(lambda: not started(program))


def test_clean_removes_what_a_killed_emulator_left(possible: None) -> None:
    owner, name, emulator, program = _owner()
    with owner:
        os.kill(emulator, signal.SIGKILL)
        assert _until(lambda: not started(emulator))
        assert name not in clean()  # The owner lives, so it is its own.
        owner.kill()
    assert _left(name)
    assert name in clean()
    assert _left(name) == []
    assert _until(lambda: not started(program))
    assert name not in [lab.name for lab in running_labs()]


def test_closing_removes_what_a_killed_emulator_left(lab: Lab) -> None:
    os.kill(lab.facts.emulator.pid, signal.SIGKILL)
    name = lab.name
    lab.close()
    assert _left(name) == []


def test_stop_ends_a_lab_from_elsewhere(lab: Lab) -> None:
    emulator = lab.facts.emulator
    lab.stop()
    assert _until(lambda: not emulator.alive())
    assert _left(lab.name) == []
    with pytest.raises(LabError, match="No lab answers"):
        lab.counters()
    with pytest.raises(LabError, match="has ended"):
        lab.spawn("dev", ["true"])


def test_a_start_that_fails_leaves_nothing(possible: None, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There is no trace at"):
        Lab({"nodes": TREE, "links": {"fog": {"trace": str(tmp_path / "none.csv")}}}).start()
    with pytest.raises(LabError, match="cannot be set up"):
        Lab({"nodes": TREE, "congestion": "no-such"}).start()
    assert _left(f"{PREFIX}{os.getpid()}-") == []
