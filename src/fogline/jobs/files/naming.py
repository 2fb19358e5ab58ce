"""How a job names what a program made in Python: ``module:attribute``, or why it cannot be named.

A task has a name if importing the program would make it again: it stands under a name at the program's top, or a
function at its top gave it. What stands under ``if __name__ == "__main__"`` is not there when the program is imported.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any

from fogline.algorithms import METHODS, Algorithm
from fogline.jobs.job import Method
from fogline.jobs.modules import class_name, module_of
from fogline.training.task import Task
from fogline.user_code.bugs import is_own

PACKAGE = "fogline"


@dataclass(frozen=True, slots=True)
class TaskOrigin:
    """Where a task came from."""

    task: str = ""
    """``module:attribute``; empty if it cannot be named."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the function was called with."""
    folder: Path | None = None
    """Where the module lies."""
    why: str = ""
    """Why it cannot be named, as the end of a sentence."""


def origin_of(task: Task) -> TaskOrigin:
    """Where the task that the calling program hands over came from."""
    frames = list(_callers())
    if not frames:
        return TaskOrigin(why="nobody knows which program made it")
    program = frames[0].f_globals
    for names in (program, *_modules()):
        module, folder = module_of(names)
        for name, thing in names.items():
            if thing is task and folder is not None and _gives(names, name, frames):
                return TaskOrigin(f"{module}:{name}", folder=folder)
    running = {frame.f_code for frame in frames}
    for maker in task.makers:
        module, folder = module_of(maker.globals)
        if folder is not None and maker.code not in running and not _starts_run(maker.globals, frames):
            return TaskOrigin(f"{module}:{maker.name}", maker.parameters, folder)
    return TaskOrigin(why=_why_not(program, frames))


def _why_not(program: Mapping[str, Any], frames: list[FrameType]) -> str:
    module, folder = module_of(program)
    if folder is None:
        return "it was made in a notebook or an interactive session"
    if _starts_run(program, frames):
        return f'importing {module} would start the run again (put what runs under: if __name__ == "__main__")'
    return f"it stands under no name at the top of {module}, and no function there gives it"


def method_of(algorithm: Algorithm) -> Method:
    """How a job names an algorithm, with its parameters: by its registered name, or as ``module:Class``."""
    kind = type(algorithm)
    parameters = {field.name: getattr(algorithm, field.name) for field in fields(algorithm)}
    if not algorithm.private:
        del parameters["private"]  # Every method has it, and few use it.
    return Method(name=METHODS.name_of(kind) or class_name(kind), parameters=parameters)


def _callers() -> Iterator[FrameType]:
    """The stack above the package's own frames, the nearest first."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] != PACKAGE:
            yield frame
        frame = frame.f_back


def _modules() -> Iterator[Mapping[str, Any]]:
    """What the program has imported of its own."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and is_own(file):
            yield vars(module)


def _gives(names: Mapping[str, Any], name: str, frames: list[FrameType]) -> bool:
    """Whether importing the module gives that name a value, and starts no run."""
    return name in _names_at_top(_source(names)) and not _starts_run(names, frames)


def _starts_run(names: Mapping[str, Any], frames: list[FrameType]) -> bool:
    """Whether the run that is being started would be started by importing that module."""
    tops = [frame for frame in frames if frame.f_code.co_name == "<module>" and frame.f_globals is names]
    return any(not _is_guarded(_source(names), frame.f_lineno) for frame in tops)


def _source(names: Mapping[str, Any]) -> ast.Module:
    try:
        return ast.parse(Path(names["__file__"]).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _is_main(statement: ast.stmt) -> bool:
    """Whether it is ``if __name__ == …``."""
    test = statement.test if isinstance(statement, ast.If) else None
    return test is not None and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(test))


def _is_guarded(source: ast.Module, line: int) -> bool:
    """Whether that line does not run when the module is imported."""
    around = [s for s in source.body if s.lineno <= line <= (s.end_lineno or s.lineno)]
    return bool(around) and _is_main(around[0])


def _names_at_top(source: ast.Module) -> set[str]:
    """Names that importing the module gives a value to."""
    found: set[str] = set()
    for statement in source.body:
        if not _is_main(statement) and not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            if isinstance(statement, ast.Import | ast.ImportFrom):
                found |= {alias.asname or alias.name for alias in statement.names}
    return found
