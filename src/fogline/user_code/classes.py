"""Classes of a developer's own, named in a job as ``module:Class``."""

from __future__ import annotations

import importlib
from typing import Any, TypeVar

from fogline.user_code.bugs import attempt, blame

Kind = TypeVar("Kind")


def own_class(name: str, noun: str, base: type[Kind], error: type[ValueError] = ValueError) -> type[Kind]:
    """The class of that name.

    Args:
        name: ``module:Class``; the class may lie in another.
        noun: what it is to be, for people.
        base: what it must be a subclass of; Fogline hands it on from its room.
        error: what is raised.

    Raises:
        ValueError: it cannot be imported, or is something else; of the kind ``error``.
    """
    module, _, path = name.partition(":")
    found: Any = attempt(lambda: importlib.import_module(module))
    if isinstance(found, Exception):
        why = found if isinstance(found, ModuleNotFoundError) else blame(module, found)
        raise error(f"The {noun} '{name}' cannot be imported: {why}.") from found
    try:
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError as missing:
        raise error(f"The {noun} '{name}' cannot be imported: {missing}.") from missing
    if not (isinstance(found, type) and issubclass(found, base)):
        room = base.__module__.rpartition(".")[0]
        raise error(f"'{name}' is no subclass of {room}.{base.__name__}.")
    return found
