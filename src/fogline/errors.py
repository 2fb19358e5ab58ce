"""What Fogline's own errors have in common: the text is a sentence for people, and a program knows its exit code."""

from __future__ import annotations

from typing import ClassVar


class FoglineError(Exception):
    """Something that Fogline foresaw went wrong; the text says what happened and what to do."""

    exit_code: ClassVar[int] = 1
    """The status of a program that ends because of it."""


class InputError(FoglineError):
    """What was typed, or what stands in a file, cannot be used."""

    exit_code = 2
