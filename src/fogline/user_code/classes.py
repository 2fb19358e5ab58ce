"""Classes of a developer's own, named in a job as ``module:Class``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
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


def check_methods(
    noun: str, kind: type, base: type, names: Sequence[str], error: type[ValueError] = ValueError
) -> None:
    """Refuse a class that does not define what it has to, or takes other arguments there than it is called with.

    Args:
        noun: what it is to be, for people.
        kind: the class.
        base: what it is a subclass of, where these functions stand with their arguments and do nothing.
        names: of the functions.
        error: what is raised.

    Raises:
        ValueError: one is missing or takes other arguments; one sentence of the kind ``error``, with the line to write.
    """
    for name in names:
        wanted = list(inspect.signature(getattr(base, name)).parameters)[1:]
        line = f"def {name}(self, {', '.join(wanted)})" if wanted else f"def {name}(self)"
        own: Any = inspect.getattr_static(kind, name)
        if own is inspect.getattr_static(base, name):
            raise error(f"The {noun} {kind.__name__} does not define {name}: {line}")
        taken = attempt(lambda own=own: inspect.signature(own.__get__(object(), kind)))
        if isinstance(taken, Exception) or not _takes(taken, len(wanted)):
            has = "is no function" if isinstance(taken, Exception) else f"takes ({', '.join(taken.parameters)})"
            raise error(f"{kind.__name__}.{name} {has}, but is called with ({', '.join(wanted)}): {line}")


def _takes(signature: inspect.Signature, count: int) -> bool:
    return not isinstance(attempt(lambda: signature.bind(*range(count))), Exception)
