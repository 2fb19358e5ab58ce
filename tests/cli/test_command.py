"""The command line: what it prints, where, and with which status it exits."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from fogline.cli import main
from fogline.cli.app import COMMANDS
from fogline.cli.failures import JobFailedError, RoundsLostError, UsageError, reported
from fogline.governance.errors import TokenError
from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.jobs.job import AttackPlan
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result
from fogline.network.cloud.client import OperatorApiError, RequestRefusedError
from fogline.network.transport.uplink import RefusedByParentError
from fogline.nodes.policies.base import SelectionPolicyError
from fogline.storage import StorageFullError
from tests.patience import PATIENCE

TASKS = Path(__file__).parents[1]


def exit_of(*arguments: str) -> int:
    """Exit status of the command; 0 if it simply returns."""
    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from fogline.cli import main; main()", *arguments]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def test_help_lists_the_commands_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fogline.cli import main\nmain(['--help'])\n"
        "heavy = {'numpy', 'torch', 'pydantic', 'matplotlib', 'pandas', 'msgspec', 'fogline.jobs'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    for name in ("simulate", "show", "algorithms", "datasets", "engines"):
        assert name in done.stdout


def test_a_wrong_job_is_a_sentence_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("[tree.fog]\ndeadlin = 3\n")
    done = command("simulate", "job.toml", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "fogline: job.toml: fog.deadlin is no key of a tier; did you mean 'deadline'?\n"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("rounds = 0\n")
    done = command("simulate", "job.toml", "--debug", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "JobError: job.toml: rounds is 0" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["simulat"], 'Did you mean "simulate"?'),
        (["simulate", "--sed", "3"], "Did you mean --seed?"),
        (["simulate", "job.toml", "--seed", "three"], 'unable to convert "three" into int'),
        (["simulate"], "name a job file (fogline simulate job.toml), or a run to go on with (--resume RUN)"),
        (["simulate", "jbo.toml"], "There is no job file jbo.toml; did you mean 'job.toml'?"),
        (["simulate", "job.toml", "--set", "rounds"], "write --set key=value"),
        (["simulate", "job.toml", "--seed", "-1"], "command line: seed is -1; it must be at least 0"),
        (["simulate", "job.toml"], "write 'module:attribute'"),
        (["simulate", "job.toml", "--set", "task=nowhere:x"], "there is no module 'nowhere' in"),
        (["simulate", "job.toml", "--resume", "runs/x"], "--resume goes on with the job in the run's folder"),
        (["simulate", "--resume", "runs/x"], "There is no run in runs/x"),
        (["show", "runs/x"], "There is no run in runs/x: it has no run.json"),
        (["show"], "requires an argument"),
    ],
)
def test_bad_input_exits_with_2(
    arguments: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.toml").write_text("rounds = 3\n")
    assert exit_of(*arguments) == 2
    shown = capsys.readouterr()
    assert line in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (JobError("rounds is 0"), 2, "fogline: rounds is 0\n"),
        (UsageError("--ttl: 'x' is no time"), 2, "fogline: --ttl: 'x' is no time\n"),
        (TokenError("The token is none."), 2, "fogline: The token is none.\n"),
        (SelectionPolicyError("There is no policy 'x'"), 2, "fogline: There is no policy 'x'\n"),
        (JobFailedError("Job 1 failed"), 1, "fogline: Job 1 failed\n"),
        (RefusedByParentError("NAME was revoked"), 1, "fogline: NAME was revoked\n"),
        (RequestRefusedError("There is no job 'x'"), 2, "fogline: There is no job 'x'\n"),
        (RoundsLostError("6 of 10 rounds came to nothing"), 3, "fogline: 6 of 10 rounds came to nothing\n"),
        (OperatorApiError("The cloud does not answer"), 1, "fogline: The cloud does not answer\n"),
        (StorageFullError("The disk is full"), 1, "fogline: The disk is full\n"),
        (ConnectionError("Nobody answers at the door"), 1, "fogline: Nobody answers at the door\n"),
        (RuntimeError("a worker died"), 1, "fogline: RuntimeError: a worker died (--debug shows where)\n"),
        (KeyboardInterrupt("Go on with …"), 130, "Go on with …\n"),
    ],
)
def test_what_goes_wrong_decides_the_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, reported(debug=False):
        raise error
    assert stop.value.code == status
    assert capsys.readouterr().err == line
    if not isinstance(error, KeyboardInterrupt):
        with pytest.raises(type(error)), reported(debug=True):
            raise error


@pytest.mark.usefixtures("no_plots")
def test_a_finished_run_is_shown_with_the_next_command(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    folder.finish(result)
    assert exit_of("show", str(folder.path)) == 0
    shown = capsys.readouterr().out
    assert "accuracy 92.31 %" in shown
    assert f"fogline simulate {folder.path}/job.toml --seed 4" in shown


# Runs, with a simulator that only pretends

JOB = 'name = "demo"\ntask = "tasks:make"\nrounds = 40\n'


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_plots: None) -> Iterator[Path]:
    """A folder with a job and its task, where the command is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(TASKS)])
    (tmp_path / "job.toml").write_text(JOB)
    (tmp_path / "tasks.py").write_text("from toy import ToyTask as make\n")
    yield tmp_path
    sys.modules.pop("tasks", None)


def pretend(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> list[Job]:
    """Replaces the simulator; the jobs that it was given."""
    asked: list[Job] = []

    def run(job: Job, task: object, folder: RunFolder, progress: object) -> Result:
        asked.append(job)
        return outcome(folder)

    monkeypatch.setitem(sys.modules, "fogline.simulation.run", type(sys)("fogline.simulation.run"))
    monkeypatch.setattr(sys.modules["fogline.simulation.run"], "run", run, raising=False)
    return asked


def test_a_job_is_run_with_its_overrides(
    desk: Path, result: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcome(folder: RunFolder) -> Result:
        result.folder = folder.finish(result)
        return result

    asked = pretend(monkeypatch, outcome)
    arguments = ["--set", "cloud.deadline=10s", "--set", "local.epochs=2", "--seed", "9", "--processes", "0"]
    arguments += ["--attack", "ipm(tau=3)", "--malicious", "2"]
    assert exit_of("simulate", "job.toml", *arguments, "--folder", "here") == 0
    (job,) = asked
    assert job.attack == AttackPlan(name="ipm(tau=3)", malicious=2)
    assert (job.seed, job.processes, job.local.epochs, job.tree.tiers["cloud"].deadline) == (9, 0, 2, 10.0)
    shown = capsys.readouterr().out
    assert "fogline show here" in shown
    assert RunFolder(Path("here")).read_info()["task_folder"] == str(desk)
    # The resolved job finds its task from its new place.
    assert exit_of("simulate", "here/job.toml", "--quiet", "--folder", "there") == 0
    assert asked[1] == RunFolder(Path("there")).read_job()


def test_ctrl_c_says_how_to_go_on_and_that_works(
    desk: Path, result: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcome(folder: RunFolder) -> Result:
        for row in result.history[:12]:
            folder.append(row)
        (folder.checkpoints / "round-000009").mkdir(parents=True)
        raise KeyboardInterrupt

    asked = pretend(monkeypatch, outcome)
    assert exit_of("simulate", "job.toml", "--folder", "here") == 130
    line = capsys.readouterr().err
    assert "Interrupted after 12 of 40 rounds. Go on with: fogline simulate --resume here" in line
    assert RunFolder(Path("here")).read_info()["status"] == "interrupted"

    def finish(folder: RunFolder) -> Result:
        folder.finish(result)
        return result

    again = pretend(monkeypatch, finish)
    assert exit_of("simulate", "--resume", "here") == 0
    assert again == asked
    assert RunFolder(Path("here")).read_info()["status"] == "finished"


def test_a_finished_run_is_given_more_rounds_and_nothing_that_would_change_its_past(
    desk: Path, result: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish(folder: RunFolder) -> Result:
        folder.finish(result)
        return result

    asked = pretend(monkeypatch, finish)
    assert exit_of("simulate", "job.toml", "--folder", "here") == 0
    for changes, line in (
        ([], "has finished; look at it with: fogline show here, or give it more rounds"),
        (["--set", "rounds=20"], "rounds is 20; a run of 40 rounds can only go on to more"),
        (["--set", "cloud.deadline=3"], "cloud.deadline cannot change in a run that goes on, only rounds, evaluation"),
        (["--seed", "4"], "seed cannot change"),
        (["--set", "local.learning_rate=1", "--set", "rounds=80"], "local.learning_rate cannot change"),
    ):
        capsys.readouterr()
        assert exit_of("simulate", "--resume", "here", *changes) == 2
        assert line in capsys.readouterr().err
        assert RunFolder(Path("here")).read_info()["status"] == "finished"
    changes = ["--set", "rounds=80", "--set", "evaluation.every=3", "--processes", "0"]
    assert exit_of("simulate", "--resume", "here", *changes) == 0
    assert (asked[1].rounds, asked[1].evaluation.every, asked[1].processes) == (80, 3, 0)
    assert exit_of("simulate", "job.toml", "--folder", "there", "--set", "local.schedule=cosine") == 0
    assert exit_of("simulate", "--resume", "there", "--set", "rounds=80") == 2
    assert "because local.schedule is 'cosine'" in capsys.readouterr().err


def test_a_failed_run_exits_with_1(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcome(folder: RunFolder) -> Result:
        raise RuntimeError("Worker process 7 ended")

    pretend(monkeypatch, outcome)
    assert exit_of("simulate", "job.toml", "--folder", "here") == 1
    assert "RuntimeError: Worker process 7 ended" in capsys.readouterr().err
    assert RunFolder(Path("here")).read_info()["status"] == "failed"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("algorithm=fedprx", "There is no algorithm 'fedprx'; did you mean 'fedprox'?"),
        ("algorithm.parameters.mu=1", "has no parameter 'mu'"),
        ("cloud.policy=ort", "There is no policy 'ort'; did you mean 'oort'?"),
        ("engine=lop", "There is no engine 'lop' for task 'toy'; did you mean 'loop'?"),
    ],
)
def test_names_are_checked_before_anything_is_written(
    desk: Path, override: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of("simulate", "job.toml", "--set", override) == 2
    assert line in capsys.readouterr().err
    assert not (desk / "runs").exists()


def test_a_job_that_the_set_up_refuses_leaves_no_folder(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(folder: RunFolder) -> Result:
        raise JobError("The tree has 50 aggregators above 12 devices.")

    pretend(monkeypatch, outcome)
    assert exit_of("simulate", "job.toml", "--folder", "here") == 2
    assert not Path("here").exists()


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("algorithms", ["fedavg", "fedprox", "mu=0.01", "uniform", "power_of_choice", "clip", "norm=1.0", "int8"]),
        ("datasets", ["digits", "none needed", "mnist", "missing"]),
        ("engines", ["torch", "loop"]),
    ],
)
def test_lists_name_what_there_is(
    what: str, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOGLINE_DATA", str(tmp_path))
    assert exit_of(what) == 0
    shown = capsys.readouterr().out
    for part in parts:
        assert part in shown


def test_ctrl_c_while_the_command_is_imported_is_no_traceback() -> None:
    program = """
import sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "fogline.cli.app":
            raise KeyboardInterrupt

from fogline.cli import main
sys.meta_path.insert(0, Interrupts())
main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_a_command_whose_packages_are_not_installed_is_a_sentence_and_the_others_work() -> None:
    program = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            raise ModuleNotFoundError("No module named 'grpc'", name="grpc")

from fogline.cli import main
sys.meta_path.insert(0, Absent())
main(sys.argv[1:])
"""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)

    done = run("jobs", "list")
    line = "fogline: This command needs grpc, which is not installed: pip install 'fogline[all]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
    assert run("algorithms", "--json").returncode == 0
    assert run("--help").returncode == 0


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, (place, text) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        found = getattr(import_module(f"fogline.cli.commands.{module}"), attribute)
        if not isinstance(found, App):
            assert inspect.getdoc(found).splitlines()[0] == text, name
