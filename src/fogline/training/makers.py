"""Which functions of a program were making a task when it was made, so that a job can name the one that gives it."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Maker:
    """A function at the top of a module, and what it was called with."""

    name: str
    globals: Mapping[str, Any] = field(repr=False)
    code: CodeType
    parameters: Mapping[str, Any]


def makers() -> tuple[Maker, ...]:
    """Those that are running now and could be called again with numbers and text, the innermost first."""
    found: list[Maker] = []
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        maker = _maker(frame)
        if maker is not None:
            found.append(maker)
        frame = frame.f_back
    return tuple(found)


def _maker(frame: FrameType) -> Maker | None:
    code, names = frame.f_code, frame.f_globals
    if str(names.get("__name__")).partition(".")[0] == "fogline" or code.co_name == "<module>":
        return None
    function = names.get(code.co_name)
    if getattr(function, "__code__", None) is not code or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return None
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = {name: frame.f_locals.get(name) for name in arguments}
    if code.co_posonlyargcount or not all(isinstance(v, SCALARS) for v in given.values()):
        return None
    return None if _changed(code) & given.keys() else Maker(code.co_name, names, code, given)


def _changed(code: CodeType) -> set[object]:
    """The names that a function gives another value, or none."""
    return {step.argval for step in dis.get_instructions(code) if step.opname.startswith(("STORE", "DELETE"))}
