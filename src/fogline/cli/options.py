"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Many = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
Attached = Annotated[bool, Parameter(negative="", show=False)]
"""For programs that start this one: what changes goes to standard output as JSON lines, and the end of standard
input ends it."""


def group(name: str, text: str) -> App:
    """A group of commands, such as ``fogline jobs``."""
    return App(name=name, help=text)
