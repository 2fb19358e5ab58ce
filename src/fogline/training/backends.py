"""The backends: every package in this room that has engines is one, and is called as the package that it needs."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

import fogline.training
from fogline.training.task import Task


def backends() -> list[str]:
    """Names of the backends, installed or not: ``flwr``, ``sklearn``, ``torch``."""
    (room,) = fogline.training.__path__
    return [module.name for module in iter_modules([room]) if Path(room, module.name, "engines").is_dir()]


def backend_of(task: Task) -> str | None:
    """The backend whose task it is; None of a task that somebody wrote without one."""
    for kind in type(task).__mro__:
        for name in backends():
            if kind.__module__.startswith(f"{fogline.training.__name__}.{name}."):
                return name
    return None
