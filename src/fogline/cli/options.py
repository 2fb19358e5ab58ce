"""Options that several commands have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False)]
Many = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
Threads = Annotated[int, Parameter(validator=Number(gte=1))]
Attached = Annotated[bool, Parameter(negative="", show=False)]
"""For programs that start this one: what changes goes to standard output as JSON lines, and the end of standard
input ends it."""


@Parameter(name="*")
@dataclass(frozen=True)
class Predictions:
    """Whether and how a node answers predictions."""

    serve: Flag = False
    """Answer predictions with the models that the cloud releases."""
    http: str = "127.0.0.1:8080"
    """With --serve: address for HTTP; port 0 takes a free one."""
    grpc: str = "127.0.0.1:8081"
    """With --serve: address for gRPC; none saves memory."""
    threads: Threads = 1
    """With --serve: processors that a model may use."""
    variants: Flag = False
    """With --serve: use a variant in fewer bits where it is faster here."""


NO_PREDICTIONS = Predictions()


def group(name: str, text: str) -> App:
    """A group of commands, such as ``fogline jobs``."""
    return App(name=name, help=text)
