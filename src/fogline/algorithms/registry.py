"""Methods by name, and how one is made of its parameters."""

from __future__ import annotations

from typing import Any

from fogline.algorithms.base import Algorithm
from fogline.algorithms.checks import check_method
from fogline.factories import Factory

METHODS = Factory("algorithm", "fogline.algorithms.methods", Algorithm, first="fedavg", check=check_method)
"""Fogline's methods."""


def find(name: str) -> type[Algorithm]:
    """A method by name, or by ``module:Class``.

    Raises:
        ValueError: there is none; the sentence names the nearest.
    """
    return METHODS.kind_of(name)


def make(name: str, /, **parameters: Any) -> Algorithm:
    """A method by name with its parameters; those left out have the paper's defaults.

    Raises:
        ValueError: there is no such method or parameter, a value has the wrong type, or its class is not what a method
            must be.
    """
    return METHODS.make(name, **parameters)
