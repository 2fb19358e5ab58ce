"""The task that a job names: what is found, and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.jobs.loading import load_task, task_folder

TASKS = """
from toy import ToyTask

ready = ToyTask()
number = 3

def make(clients: int = 3):
    return ToyTask()

def broken():
    raise RuntimeError("no data today")

def wrong():
    return "a task"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a task module that this test alone sees."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[1])])
    (tmp_path / "tasks.py").write_text(TASKS)
    yield tmp_path
    sys.modules.pop("tasks", None)


def task_error(home: Path, task: str, **parameters: object) -> str:
    with pytest.raises(JobError) as caught:
        load_task(Job(task=task, task_parameters=parameters), home)
    return str(caught.value)


def test_a_task_is_found_beside_the_job_file(home: Path) -> None:
    assert load_task(Job(task="tasks:ready"), home).name == "toy"
    job = Job(task="tasks:make", task_parameters={"clients": 2})
    assert load_task(job, home).name == "toy"
    assert task_folder(job) == home.resolve()


def test_two_folders_may_have_a_module_of_the_same_name(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    load_task(Job(task="tasks:ready"), home)
    other = tmp_path_factory.mktemp("other")
    (other / "tasks.py").write_text(TASKS.replace("ready =", "prepared ="))
    assert load_task(Job(task="tasks:prepared"), other).name == "toy"


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("", "write 'module:attribute'"),
        ("tasks", "task is 'tasks'; write 'module:attribute', say 'tasks:task'"),
        ("tasks.py:make", "say 'tasks:make'"),
        ("taks:make", "there is no module 'taks' in"),
        ("taks:make", "; did you mean 'tasks'?"),
        ("tasks:mak", "module 'tasks' has no 'mak'; did you mean 'make'?"),
        ("tasks:number", "'tasks:number' gives a int; it must be a fogline Task or a function of one"),
        ("tasks:wrong", "'tasks:wrong' gives a str"),
        ("tasks:broken", "tasks:broken raised RuntimeError (tasks.py, line 11): no data today"),
    ],
)
def test_a_wrong_task_is_one_sentence(home: Path, task: str, line: str) -> None:
    assert line in task_error(home, task)


def test_parameters_must_fit(home: Path) -> None:
    assert "do not fit tasks:make(clients: int = 3): got an unexpected keyword" in task_error(home, "tasks:make", n=3)
    assert "takes no task_parameters" in task_error(home, "tasks:ready", n=3)


def test_a_module_that_fails_says_where(home: Path) -> None:
    (home / "failing.py").write_text("x = 1\ny = x / 0\n")
    assert "raised ZeroDivisionError (failing.py, line 2)" in task_error(home, "failing:x")
    (home / "needy.py").write_text("import not_there_at_all\n")
    assert "module 'needy' needs 'not_there_at_all', which is not installed" in task_error(home, "needy:x")
