"""What a node tells of rounds to whoever traces them: a wall, so that a node needs no library for it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Tracer(Protocol):
    """Is told when a node's part of a round begins and ends. Of a job, one round at a time is open on a node."""

    def begin(self, job: str, round_: int, request: int, parent: str = "") -> None:
        """The node begins its part of a round; what was open of the job before came to nothing.

        Args:
            job: the job's id.
            round_: of the root, counted from 0.
            request: by which :meth:`end` names it.
            parent: who asked for it; empty at the root.
        """
        ...

    def end(self, job: str, request: int) -> None:
        """Its part of the round is done; said again, or of another request, it means nothing."""
        ...

    def work(self, what: str, job: str) -> AbstractContextManager[None]:
        """What is done inside belongs to the part of the job that is open."""
        ...


class NoTracer:
    """Traces nothing."""

    def begin(self, job: str, round_: int, request: int, parent: str = "") -> None:
        """See :class:`Tracer`."""

    def end(self, job: str, request: int) -> None:
        """See :class:`Tracer`."""

    @contextmanager
    def work(self, what: str, job: str) -> Generator[None]:
        """See :class:`Tracer`."""
        yield


NO_TRACER = NoTracer()
