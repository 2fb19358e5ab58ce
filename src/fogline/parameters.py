"""Parameters of what is named in a job: whether they fit the fields of the class that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any


def required(field: Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is field.default_factory  # both are the marker for "missing"


def missing(kind: type, given: Mapping[str, Any]) -> list[str]:
    """Fields that need a value and have none."""
    return [field.name for field in fields(kind) if required(field) and field.name not in given]


def fitting(subject: str, field: Field[Any], value: Any) -> Any:
    """A value as a field takes it.

    Args:
        subject: what the parameter belongs to: ``algorithm 'fedprox'``.
        field: takes it.
        value: as it was given.

    Raises:
        ValueError: it has another type than the field; one sentence.
    """
    return fitting_type(subject, field.name, field.type, value)


def fitting_type(subject: str, name: str, kind: Any, value: Any) -> Any:
    """As :func:`fitting`, of a parameter whose name and annotation are given."""
    wanted = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    if wanted == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kinds: dict[str, type] = {"float": float, "int": int, "bool": bool, "str": str}
    wrong = wanted in kinds and (not isinstance(value, kinds[wanted]) or (wanted == "int" and isinstance(value, bool)))
    if wrong:
        raise ValueError(f"Parameter '{name}' of {subject} is {value!r}; it wants a {wanted}.")
    return value
