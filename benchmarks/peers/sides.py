"""Starts a side in an environment of its own, and reads what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from benchmarks.common import (
    ROOT,
    SCRATCH,
    console,
)
from benchmarks.peers.plan import OURS, PINS

VENVS = SCRATCH / "venvs"
LIMIT = 300.0  # seconds for one run of one side
COMMON = ("torch==2.13.0", "numpy==2.4.6")
Outcome = dict[str, Any]
"""What a side's script printed, or {"error": why}."""


def interpreter(side: str) -> Path:
    return Path(sys.executable) if side in OURS else VENVS / side / "bin" / "python"


def prepare(peers: list[str]) -> None:
    """Create each peer's environment unless it is there with the same pins."""
    for peer in peers:
        wanted = "\n".join((*COMMON, *PINS[peer])) + "\n"
        stamp = VENVS / peer / "pins.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        with console.status(f"installing {peer}: {', '.join(PINS[peer])}"):
            _install(peer, wanted)
        stamp.write_text(wanted)


def _install(peer: str, wanted: str) -> None:
    venv.create(VENVS / peer, with_pip=True, symlinks=True, clear=True)
    constraints = VENVS / peer / "constraints.txt"
    constraints.write_text("\n".join(COMMON) + "\n")
    # PyTorch goes first and alone, as in the Makefile: that way it is the CPU build.
    for requirements in (COMMON, PINS[peer]):
        command = [str(interpreter(peer)), "-m", "pip", "install", "--quiet", "-c", str(constraints), *requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"could not install {peer}:\n{done.stderr[-2000:]}")


def attempt(side: str, flags: list[str]) -> Outcome:
    """Run a side, once more if it fails: on a loaded machine a peer was seen to fail once and then not again."""
    outcome = start(side, flags)
    return outcome if "error" not in outcome else {**start(side, flags), "first_try": outcome["error"]}


def start(side: str, flags: list[str]) -> Outcome:
    """Run a side's script and read the JSON line at the end of its output."""
    script = ROOT / "benchmarks" / "peers" / f"run_{side}.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FLWR_HOME": str(SCRATCH / "flower-home")}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [str(interpreter(side)), str(script), *flags],
        cwd=SCRATCH,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {LIMIT:.0f} s"}
    finally:
        _end(process)
    lines = [line for line in output.splitlines() if line.startswith('{"seconds"')]
    if process.returncode or not lines:
        return {"error": errors.strip().replace(str(ROOT), ".")[-500:] or f"exit status {process.returncode}"}
    return _checked(json.loads(lines[-1]))


def _end(process: subprocess.Popen[str]) -> None:
    """Leave no process of a run behind: only the group that we started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _checked(outcome: Outcome) -> Outcome:
    """A side that did not learn is an error, however fast it was."""
    if not outcome["loss_after"] < outcome["loss_before"]:
        return {"error": f"did not learn: loss {outcome['loss_before']:.3f} to {outcome['loss_after']:.3f}"}
    return outcome
