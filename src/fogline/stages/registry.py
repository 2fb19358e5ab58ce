"""Stages by name, and how one is made of the text that a job has for it: ``clip(norm=1.0)``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from typing import Any

from fogline.parameters import fitting, missing
from fogline.plugins import Registry, suggest
from fogline.stages.base import Stage, StageError
from fogline.training.own_classes import own_class

STAGES = Registry[type[Stage]]("stage", "fogline.stages", error=StageError)
"""Fogline's stages."""
TEXT = re.compile(r"\s*([\w.:-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_handed_over: dict[str, type[Stage]] = {}
"""Classes of a program's own whose objects it gave to a tier: what a notebook has defined cannot be imported."""


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters in a stage's text.

    Raises:
        StageError: it is none.
    """
    match = TEXT.fullmatch(text)
    if match is None:
        raise StageError(f"'{text}' is no stage; write a name, with parameters in brackets: clip(norm=1.0)")
    name, arguments = match.groups()
    try:
        table = tomllib.loads(f"parameters = {{ {arguments or ''} }}")
    except tomllib.TOMLDecodeError:
        table = {}
    if table.keys() != {"parameters"}:
        raise StageError(f"'{text}' is no stage: its parameters must read as in clip(norm=1.0)")
    return name, table["parameters"]


def make(text: str) -> Stage:
    """The stage that a text names, ``module:Class`` included; parameters left out have their defaults.

    Raises:
        StageError: there is no such stage or parameter, or a value makes no sense; one sentence.
    """
    name, parameters = parsed(text)
    kind = _own(name) if ":" in name else STAGES.find(name).thing
    known = {field.name: field for field in fields(kind)}
    for key, value in parameters.items():
        if key not in known:
            raise StageError(f"Stage '{name}' has no parameter '{key}'{suggest(key, known) or '; it has none'}")
        try:
            parameters[key] = fitting(f"stage '{name}'", known[key], value)
        except ValueError as error:
            raise StageError(str(error)) from None
    if lacking := missing(kind, parameters):
        raise StageError(f"Stage '{name}' wants a value for {', '.join(lacking)}.")
    stage = kind(**parameters)
    try:
        stage.check()
    except StageError as error:
        raise StageError(f"Stage '{name}': {error}.") from None
    return stage


def text_of(stage: Stage, name: str) -> str:
    """A stage as a job names it, and as :func:`make` makes it again.

    Args:
        stage: any.
        name: ``module:Class``, for one that is not Fogline's own.
    """
    kind = type(stage)
    known = STAGES.name_of(kind)
    if known is None:
        _handed_over[name] = kind
    defaults = {field.name: field.default for field in fields(kind)}
    given = {key: value for key, value in stage.parameters.items() if value != defaults[key]}
    arguments = ", ".join(f"{key}={_literal(value)}" for key, value in given.items())
    return f"{known or name}({arguments})" if arguments else known or name


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _own(name: str) -> type[Stage]:
    return _handed_over.get(name) or own_class(name, "stage", Stage, StageError)
