"""The task that a job names: importing its module, and calling its function."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.plugins import suggest
from fogline.randomness import seeded

if TYPE_CHECKING:
    from fogline.training.task import Task

_importing: list[str] = []
"""Modules that are being imported for a job."""


def load_task(job: Job, folder: Path) -> Task:
    """Import the task that a job names, with ``folder`` (where its file lies) first on the import path.

    A function is called with the job's ``task_parameters``, under the job's seed; what it returns must be a task.

    Raises:
        JobError: there is no such module or attribute, it raises, or what it gives is no task.
    """
    from fogline.training.task import Task

    module, colon, attribute = job.task.partition(":")
    if not (colon and module and attribute) or module.endswith(".py") or "/" in module:
        wanted = f"{Path(module).stem or 'tasks'}:{attribute or 'task'}"
        raise JobError(f"task is '{job.task}'; write 'module:attribute', say '{wanted}'")
    # A file is imported once, whichever job comes first; so what it draws meanwhile is no job's.
    with seeded(0):
        made: object = _attribute(job.task, _import(module, folder.resolve()), attribute)
    if not isinstance(made, Task) and callable(made):
        with seeded(job.seed):
            made = _call(job, made, folder)
    elif job.task_parameters:
        raise JobError(f"'{job.task}' is a task, not a function, so it takes no task_parameters; leave them out")
    if not isinstance(made, Task):
        raise JobError(f"'{job.task}' gives a {type(made).__name__}; it must be a fogline Task or a function of one")
    made.seed = job.seed
    return made


def task_folder(job: Job) -> Path | None:
    """The folder that a job's task was imported from, for a later run; None if it was given in Python."""
    name = job.task.partition(":")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    if not name or file is None:
        return None
    path = Path(file).resolve()
    return path.parents[name.count(".") + (path.name == "__init__.py")]


def check_not_importing() -> None:
    """Refuse to start a run while a job's module is imported: it would never end.

    Raises:
        JobError: one is.
    """
    if _importing:
        raise JobError(
            f"task: importing module '{_importing[-1]}' starts a run; "
            'put what runs in it under: if __name__ == "__main__"'
        )


def _import(name: str, folder: Path) -> ModuleType:
    _importing.append(name)
    try:
        return _import_from(name, folder)
    finally:
        _importing.pop()


def _import_from(name: str, folder: Path) -> ModuleType:
    _forget_namesake(name.partition(".")[0], folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except JobError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            found = sorted(file.stem for file in folder.glob("*.py"))
            raise JobError(
                f"task: there is no module '{error.name}' in {folder}{suggest(error.name, found)}"
            ) from error
        raise JobError(f"task: module '{name}' needs '{error.name}', which is not installed") from error
    except (Exception, SystemExit) as error:
        raise JobError(f"task: importing module '{name}' raised {_raised(error, folder)}") from error


def _forget_namesake(name: str, folder: Path) -> None:
    """Drop a module of that name that came from elsewhere, if the job's folder has its own."""
    loaded = sys.modules.get(name)
    own = PathFinder.find_spec(name, [str(folder)])
    if loaded is None or own is None or own.origin in (None, getattr(loaded, "__file__", None)):
        return
    for module in [module for module in sys.modules if module == name or module.startswith(name + ".")]:
        del sys.modules[module]


def _attribute(task: str, module: ModuleType, dotted_name: str) -> object:
    found: object = module
    for name in dotted_name.split("."):
        known = [other for other in vars(found) if not other.startswith("_")] if hasattr(found, "__dict__") else []
        if not hasattr(found, name):
            raise JobError(f"task '{task}': module '{module.__name__}' has no '{name}'{suggest(name, known)}")
        found = getattr(found, name)
    return found


def _call(job: Job, function: Callable[..., object], folder: Path) -> object:
    signature = inspect.signature(function)
    try:
        signature.bind(**job.task_parameters)
    except TypeError as error:
        raise JobError(f"task_parameters do not fit {job.task}{signature}: {error}") from error
    try:
        return function(**job.task_parameters)
    except (Exception, SystemExit) as error:
        raise JobError(f"task: {job.task} raised {_raised(error, folder.resolve())}") from error


def _raised(error: BaseException, folder: Path) -> str:
    """An exception and the last line of the job's own code that led to it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if folder in Path(frame.filename).parents]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{where}: {error}"
