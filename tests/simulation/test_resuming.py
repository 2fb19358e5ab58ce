"""Runs made from Python go on, and can be repeated: what their folder says, and who can make their task again."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import fogline
from fogline import FedAvg, JobError
from fogline.cli import main
from fogline.monitoring.folder import RunFolder
from fogline.params import save_arrays
from tests.toy import ToyTask, toy_data


class Stopped(FedAvg):
    """Ctrl-C in its fifth round, where told so."""

    mu: float = 0.5
    stop: ClassVar[bool] = False

    def server_update(self, model, folded, state, group):
        if self.stop and group.round == 4:
            raise KeyboardInterrupt
        return super().server_update(model, folded, state, group)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("program", "user"):
            del sys.modules[name]


def simulate(folder: str | None = "run", rounds: int = 12, **settings: Any) -> fogline.Result:
    settings = {"algorithm": Stopped(), "processes": 0, "progress": False} | settings
    return fogline.simulate(ToyTask(), rounds=rounds, folder=folder, **settings)


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C once that many rows are written."""
    append = RunFolder.append

    def appended(self: RunFolder, row: dict[str, float]) -> None:
        append(self, row)
        if row["round"] == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "append", appended)
        with pytest.raises(KeyboardInterrupt):
            simulate(rounds=14)


@pytest.mark.parametrize("after", [3, 12], ids=["before a checkpoint", "after one"])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_run_goes_on_as_if_nothing_had_been(monkeypatch: pytest.MonkeyPatch, after: int, processes: int) -> None:
    whole = simulate(None, rounds=14)
    interrupt(monkeypatch, after)
    result = simulate(rounds=14, resume=True, processes=processes)
    assert np.array_equal(result.params.vector, whole.params.vector)
    assert [row["round"] for row in result.history] == list(range(1, 15))
    assert fogline.load_run("run").history == result.history


def test_a_run_that_was_interrupted_in_a_hook_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Stopped, "stop", True)
        with pytest.raises(KeyboardInterrupt):
            simulate()
    with pytest.raises(JobError, match="run holds a run already; go on with it"):
        simulate()
    result = simulate(resume=True)
    assert [row["round"] for row in result.history] == list(range(1, 13))
    assert np.array_equal(result.params.vector, simulate(None).params.vector)


def test_a_finished_run_is_given_back_or_more_rounds() -> None:
    first = simulate(resume=True)
    again = simulate(resume=True)
    assert np.array_equal(again.params.vector, first.params.vector)
    assert again.history == first.history
    assert len(simulate(resume=True, rounds=16).history) == 16
    assert len(RunFolder(Path("run")).read_info()["resumed"]) == 1


def test_a_checkpoint_of_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, 12)
    (notes,) = Path("run/checkpoints").glob("round-*/notes.json")
    notes.write_text(notes.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(JobError, match="has format 3; this version of Fogline reads 2"):
        simulate(rounds=14, resume=True)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def without_rounds(notes: Path) -> None:
    said = json.loads(notes.read_text())
    notes.write_text(json.dumps({key: value for key, value in said.items() if key != "round"}))


@pytest.mark.parametrize(
    ("damage", "file", "why"),
    [
        (cut, "notes.json", "is damaged"),
        (cut, "numbers.safetensors", "is damaged"),
        (Path.unlink, "numbers.safetensors", "is damaged"),
        (lambda path: path.write_bytes(b"\xff" * 99), "notes.json", "is damaged"),
        (lambda path: path.write_text("[]"), "notes.json", "notes.json has no notes"),
        (without_rounds, "notes.json", "notes.json lacks round"),
        (
            lambda path: save_arrays(path, {}, {"pair": "0" * 16}),
            "numbers.safetensors",
            "numbers.safetensors is of another checkpoint",
        ),
    ],
)
def test_a_damaged_checkpoint_is_told_and_nothing_is_lost(
    damage: Callable[[Path], object], file: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, 12)
    (checkpoint,) = Path("run/checkpoints").glob("round-*")
    rows = Path("run/metrics.jsonl").read_bytes()
    damage(checkpoint / file)
    with pytest.raises(JobError, match=rf"The checkpoint .*{why}.* Delete it, and the run begins anew"):
        simulate(rounds=14, resume=True)
    assert Path("run/metrics.jsonl").read_bytes() == rows
    shutil.rmtree(checkpoint)
    assert len(simulate(rounds=14, resume=True).history) == 14


def test_a_checkpoint_that_was_half_written_when_the_run_was_killed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, 12)
    half = Path("run/checkpoints/round-000019")
    half.mkdir()
    (half / ".notes.json.0123456789abcdef.part").write_text("{")
    (half / "numbers.safetensors").write_bytes(b"half")
    assert len(simulate(rounds=24, resume=True).history) == 24


def test_what_would_change_the_past_is_refused() -> None:
    simulate()
    for settings, words in (
        ({}, r"^run holds a run already; go on with it \(.*resume=True\), or name another folder$"),
        ({"resume": True, "seed": 3}, "seed cannot change"),
        ({"resume": True, "algorithm": Stopped(mu=0.4)}, "algorithm.parameters.mu cannot change"),
        ({"resume": True, "local": {"epochs": 2}}, "local.epochs cannot change"),
        ({"resume": True, "folder": None}, "resume goes on with the run in a folder"),
    ):
        with pytest.raises(JobError, match=words):
            simulate(**settings)  # type: ignore[arg-type]
    simulate(folder="same", algorithm="fedsgd")
    assert simulate(folder="same", algorithm="fedsgd", resume=True).job.local.batch_size is None


def test_a_run_that_a_bug_ended_before_its_first_round_leaves_no_folder() -> None:
    class Wrong(FedAvg):
        def report(self, device):
            raise KeyError("mine")

    with pytest.raises(fogline.CodeError):
        simulate(algorithm=Wrong())
    assert not Path("run").exists()


# Programs

HEAD = """
import fogline
from fogline import FedAvg, SklearnTask
from sklearn.linear_model import SGDClassifier
from tests.toy import toy_data

class Mine(FedAvg):
    mu: float = 0.1

def run(task):
    return fogline.simulate(task, Mine(mu=0.3), rounds=2, processes=0, progress=False, folder="run")
"""
GUARDED = 'if __name__ == "__main__":\n'
PROGRAMS = {
    "a function": "def make(clients=4):\n    return SklearnTask(SGDClassifier(), toy_data(clients))\n"
    "def main():\n    run(make(5))\n" + GUARDED + "    main()\n",
    "a name": "task = SklearnTask(SGDClassifier(), toy_data(5))\n" + GUARDED + "    run(task)\n",
}
UNNAMED = {
    "not guarded": ("task = SklearnTask(SGDClassifier(), toy_data(5))\nrun(task)\n", "importing program would start"),
    "inside": (
        GUARDED + "    task = SklearnTask(SGDClassifier(), toy_data(5))\n    run(task)\n",
        "under no name at the",
    ),
    "local": (
        "def main():\n    run(SklearnTask(SGDClassifier(), toy_data(5)))\n" + GUARDED + "    main()\n",
        "no name",
    ),
    "parameters": (
        "def make(data):\n    return SklearnTask(SGDClassifier(), data)\n" + GUARDED + "    run(make(toy_data(5)))\n",
        "under no name",
    ),
    "changed": (
        "def make(n):\n    n += 1\n    return SklearnTask(SGDClassifier(), toy_data(n))\n"
        + GUARDED
        + "    run(make(4))\n",
        "under no name",
    ),
}


def start(text: str) -> None:
    Path("program.py").write_text(HEAD + text)
    sys.path.insert(0, str(Path.cwd()))  # As where Python runs a program.
    runpy.run_path("program.py", run_name="__main__")


def exit_of(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_the_command_line_goes_on_with_a_programs_run(text: str) -> None:
    start(text)
    job = RunFolder(Path("run")).read_job()
    assert job.algorithm.name == "program:Mine"
    assert job.task == ("program:make" if "make" in text else "program:task")
    first = fogline.load_run("run")
    assert exit_of("simulate", "run/job.toml", "--quiet", "--folder", "again") == 0
    assert np.array_equal(fogline.load_run("again").params.vector, first.params.vector)
    assert exit_of("simulate", "--resume", "run", "--quiet", "--set", "rounds=4") == 0
    assert len(fogline.load_run("run").history) == 4


@pytest.mark.parametrize(("text", "why"), UNNAMED.values(), ids=UNNAMED.keys())
def test_a_task_that_cannot_be_named_is_said_to_be_so(text: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    start(text)
    written = Path("run/job.toml").read_text()
    assert "# The task was given in Python, and cannot be named here: " in written
    assert why in written
    for arguments in (("--resume", "run", "--set", "rounds=4"), ("run/job.toml",)):
        capsys.readouterr()
        assert exit_of("simulate", *arguments) == 2
        line = capsys.readouterr().err
        assert why in line
        assert 'fogline.simulate(..., folder="run", resume=True)' in line


def test_a_task_of_another_module_is_named_there() -> None:
    Path("user.py").write_text(HEAD + "task = SklearnTask(SGDClassifier(), toy_data(5))\n")
    start("from user import task\nrun(task)\n")
    assert RunFolder(Path("run")).read_job().task == "user:task"


def test_importing_a_program_for_its_task_starts_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("program.py").write_text(HEAD + "task = SklearnTask(SGDClassifier(), toy_data(5))\nrun(task)\n")
    Path("job.toml").write_text('task = "program:task"\nrounds = 1\n')
    assert exit_of("simulate", "job.toml") == 2
    assert "importing module 'program' starts a run; put what runs in it under: if __name__" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_program_of_another_model_does_not_go_on(make_another: Callable[[], fogline.SklearnTask]) -> None:
    fogline.simulate(make_another(), rounds=2, processes=0, progress=False, folder="run")
    with pytest.raises(JobError, match="trains another model than this task"):
        simulate(algorithm="fedavg", rounds=4, resume=True)


@pytest.fixture
def make_another() -> Callable[[], fogline.SklearnTask]:
    from sklearn.linear_model import SGDClassifier

    return lambda: fogline.SklearnTask(SGDClassifier(), toy_data())
