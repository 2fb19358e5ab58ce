"""Methods by name, and how one is made of its parameters."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fogline.algorithms.base import Algorithm, unannotated
from fogline.algorithms.checks import check_method
from fogline.parameters import fitting, missing
from fogline.plugins import Registry, suggest
from fogline.training.own_classes import own_class

METHODS = Registry[type[Algorithm]]("algorithm", "fogline.algorithms.methods", first="fedavg")
"""Fogline's methods."""


def find(name: str) -> type[Algorithm]:
    """A method by name, or by ``module:Class``.

    Raises:
        ValueError: there is none; the sentence names the nearest.
    """
    return own_class(name, "algorithm", Algorithm) if ":" in name else METHODS.find(name).thing


def make(name: str, **parameters: Any) -> Algorithm:
    """A method by name with its parameters; those left out have the paper's defaults.

    Raises:
        ValueError: there is no such method or parameter, a value has the wrong type, or its class is not what a method
            must be.
    """
    method = find(name)
    check_method(method)
    known = {field.name: field for field in fields(method)}
    for key, value in parameters.items():
        if key not in known:
            hint = f": {unannotated(method, key)}" if hasattr(method, key) else suggest(key, known) or "; it has none"
            raise ValueError(f"Algorithm '{name}' has no parameter '{key}'{hint}")
        parameters[key] = fitting(f"algorithm '{name}'", known[key], value)
    if lacking := missing(method, parameters):
        raise ValueError(f"Algorithm '{name}' wants a value for {', '.join(lacking)}.")
    return method(**parameters)
