"""Stages by name, and how one is made of the text that a job has for it: ``clip(norm=1.0)``."""

from __future__ import annotations

from fogline.factories import Factory
from fogline.plugins import ParsedCall, read_call
from fogline.stages.base import Stage, StageError
from fogline.user_code.classes import check_methods


def _check(kind: type[Stage]) -> None:
    check_methods("stage", kind, Stage, ("send", "receive", "layout"), StageError)


STAGES = Factory("stage", "fogline.stages", Stage, error=StageError, check=_check)
"""Fogline's stages."""
_handed_over: dict[str, type[Stage]] = {}
"""Classes of a program's own whose objects it gave to a tier: what a notebook has defined cannot be imported."""


def parsed(text: str) -> ParsedCall:
    """The name and the parameters in a stage's text.

    Raises:
        StageError: it is none.
    """
    return read_call(text, StageError)


def make(text: str) -> Stage:
    """The stage that a text names, ``module:Class`` included; parameters left out have their defaults.

    Raises:
        StageError: there is no such stage or parameter, or a value makes no sense; one sentence.
    """
    name, values, parameters = parsed(text)
    kind = _handed_over.get(name) or STAGES.kind_of(name)
    stage = STAGES.make_of(kind, name, *values, **parameters)
    try:
        stage.check()
    except StageError as error:
        raise StageError(f"The stage '{name}' cannot be made: {error}") from None
    return stage


def text_of(stage: Stage, name: str) -> str:
    """A stage as a job names it, and as :func:`make` makes it again.

    Args:
        stage: any.
        name: ``module:Class``, for one that is not Fogline's own.
    """
    kind = type(stage)
    if STAGES.name_of(kind) is None:
        _handed_over[name] = kind
    return STAGES.text_of(stage, name)
