"""What is printed, where it cannot be: few characters, no reader, no room. One sentence, and the work is kept."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import fogline
from fogline.cli import main
from fogline.cli.failures import reported
from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.monitoring.folder import FolderError, RunFolder
from fogline.monitoring.progress import Live
from fogline.monitoring.result import Result
from tests.patience import PATIENCE
from tests.toy import ToyTask

TASKS = Path(__file__).parents[1]
JOB = 'name = "demo"\ntask = "toy:ToyTask"\nrounds = 3\nengine = "loop"\nchunk = 1\nprocesses = 2\n'
FULL = Path("/dev/full")
with_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def command(*arguments: str, folder: Path, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; ``shell``: what stands after it."""
    program = f'"{sys.executable}" -c "from fogline.cli import main; main()" {" ".join(arguments)} {shell}'
    variables = os.environ | {"PYTHONPATH": str(TASKS)} | environment
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=variables,
        check=False,
    )


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path


@pytest.mark.parametrize("arguments", [["algorithms"], ["--help"], ["jobs", "--help"]])
def test_a_reader_that_leaves_ends_a_command_without_a_word(arguments: list[str], tmp_path: Path) -> None:
    done = command(*arguments, folder=tmp_path, shell="| true")
    assert done.returncode in (0, 141)  # What is short may be read before the reader leaves.
    assert done.stderr == ""


def test_a_run_outlives_who_reads_of_it(desk: Path) -> None:
    done = command("simulate", "job.toml", "--folder", "kept", folder=desk, shell="2>&1 | true")
    assert done.returncode == 141
    assert done.stdout == done.stderr == ""
    assert json.loads((desk / "kept/run.json").read_text())["status"] == "finished"


def test_characters_that_the_terminal_does_not_know_are_left_out(desk: Path) -> None:
    done = command("simulate", "job.toml", "--folder", "kept", folder=desk, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stdout.isascii()


@with_full
def test_a_disk_that_is_full_behind_the_output(desk: Path) -> None:
    done = command("simulate", "job.toml", "--folder", "kept", "--quiet", folder=desk, shell=">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "fogline: the output cannot be written: No space left on device\n"
    assert json.loads((desk / "kept/run.json").read_text())["status"] == "finished"
    done = command("simulate", "job.toml", "--folder", "other", folder=desk, shell="2>/dev/full")
    assert done.returncode == 0
    assert "accuracy" in done.stdout


class Gone(io.StringIO):
    """A stream that nobody reads."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_progress_that_cannot_be_shown_does_not_end_a_run_in_python(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Gone(number))
    result = fogline.simulate(ToyTask(), rounds=3, processes=0)
    assert len(result.history) == 3
    assert isinstance(Live()._console, Console)


# A run's folder


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_one_is_a_sentence(
    place: str, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setattr(sys, "path", [*sys.path, str(TASKS)])
    (desk / "file").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(["simulate", "job.toml", "--folder", place])
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"fogline: {place} cannot hold a run: ")
    assert line.count("\n") == 1
    assert (desk / "file").read_text() == "mine"


def test_a_folder_without_permission_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(JobError, match=r"run cannot hold a run: .*run: Permission denied; name another folder"):
        RunFolder.create(tmp_path / "run", Job())


def fill_up(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Let the disk be full from the first file on whose name holds that word."""
    replace, write = Path.replace, Path.write_text

    def full(path: Path) -> None:
        if where in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def write_text(self: Path, *arguments: object, **named: object) -> int:
        if where in self.name:
            self.touch()  # A file that was opened is there, and empty.
        full(self)
        return write(self, *arguments, **named)  # type: ignore[arg-type]

    def moved(self: Path, target: Path) -> Path:
        full(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr(Path, "replace", moved)


def test_a_full_disk_during_a_run_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_plots: None
) -> None:
    folder = tmp_path / "run"

    def simulate(**more: bool) -> Result:
        return fogline.simulate(ToyTask(), rounds=12, processes=0, progress=False, folder=folder, **more)

    with monkeypatch.context() as patched:
        fill_up(patched, "notes.json")
        with pytest.raises(FolderError, match=r"cannot be written \(.*No space left on device\). It holds 10 rounds"):
            simulate()
    result = simulate(resume=True)
    whole = fogline.simulate(ToyTask(), rounds=12, processes=0, progress=False)
    assert result.params.vector.tobytes() == whole.params.vector.tobytes()
    assert [row["round"] for row in result.history] == list(range(1, 13))


def test_a_full_disk_at_the_end_leaves_the_result_in_memory_and_on_the_screen(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_plots: None
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setattr(sys, "path", [*sys.path, str(TASKS)])
    fill_up(monkeypatch, "result.json")
    with pytest.raises(FolderError) as caught:
        fogline.simulate(ToyTask(), rounds=3, processes=0, progress=False, folder="one")
    assert caught.value.result is not None
    assert len(caught.value.result.history) == 3
    with pytest.raises(SystemExit) as stop:
        main(["simulate", "job.toml", "--folder", "two", "--quiet", "--processes", "0"])
    assert stop.value.code == 1
    shown = capsys.readouterr()
    assert "accuracy" in shown.out
    assert shown.err.startswith("fogline: The run's folder two cannot be written (")
    assert shown.err.count("\n") == 1
    assert not list(Path("two").glob("*.part"))


def test_what_the_system_says_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, reported(debug=False):
        Path("/nowhere/x").read_text()
    assert stop.value.code == 1
    assert capsys.readouterr().err == "fogline: /nowhere/x: No such file or directory (--debug shows where)\n"


# Bugs


WRONG = """
from fogline import FedAvg

class Wrong(FedAvg):
    def report(self, device):
        if device.plan.steps > 1: return nonsense
        return super().report(device)
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_bug_is_one_line_and_with_debug_the_whole_traceback(desk: Path, processes: str) -> None:
    (desk / "mine.py").write_text(WRONG)
    (desk / "toy_here.py").write_text("from toy import ToyTask\n")
    arguments = ["simulate", "job.toml", "--quiet", "--set", "algorithm=mine:Wrong", "--set", "task=toy_here:ToyTask"]
    arguments += ["--processes", processes]
    done = command(*arguments, folder=desk)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Wrong.report raised NameError: name 'nonsense' is not defined (mine.py, line 6)" in done.stderr
    assert "--debug" in done.stderr
    done = command(*arguments, "--debug", folder=desk)
    assert done.returncode == 1
    assert "if device.plan.steps > 1: return nonsense" in done.stderr
    assert not (desk / "runs").exists() or not list((desk / "runs").iterdir())
