"""Mechanisms by name, and how one is made of the text that a job has for it: ``gaussian``, ``skellam(bits=32)``."""

from __future__ import annotations

from fogline.factories import Factory
from fogline.privacy.mechanisms.base import Mechanism

MECHANISMS = Factory("mechanism", "fogline.privacy.mechanisms", Mechanism, first="gaussian")
"""Fogline's own."""


def make_mechanism(text: str) -> Mechanism:
    """The mechanism that a text names, by its registered name or as ``module:Class``, with its parameters in brackets.

    Raises:
        ValueError: there is no such mechanism or parameter, or a value is wrong; one sentence.
    """
    return MECHANISMS.read(text)
