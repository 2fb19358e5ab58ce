"""How people name a version: ``NAME`` or ``NAME@VERSION``."""

from __future__ import annotations

from fogline.cli.failures import UsageError
from fogline.inference.card import Card
from fogline.registry.model_report import ModelReport

LARGEST = 2**63 - 1
"""Number of a version."""


def parsed(text: str) -> tuple[str, int]:
    """A model's name and a version; 0 where none is named.

    Raises:
        UsageError: it is no such text.
    """
    name, at, number = text.partition("@")
    if not name or (at and not (number.isdecimal() and 0 < int(number) <= LARGEST)):
        raise UsageError(f"'{text}' is no version of a model; write NAME or NAME@VERSION, such as digits@1")
    return name, int(number or 0)


def name_only(text: str) -> str:
    """A model's name, where no version can be meant.

    Raises:
        UsageError: one is named.
    """
    name, version = parsed(text)
    if version:
        raise UsageError(f"This concerns no single version of {name}; write {name}")
    return name


def chosen(model_report: ModelReport, version: int) -> Card:
    """A version, or the newest.

    Raises:
        UsageError: there is none.
    """
    for card in model_report.cards:
        if version in (0, card.version):
            return card
    known = ", ".join(str(card.version) for card in model_report.cards)
    raise UsageError(f"There is no version {version} of {model_report.model}; there are {known}")
