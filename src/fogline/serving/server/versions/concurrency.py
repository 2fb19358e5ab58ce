"""How much a server takes on at a time."""

from __future__ import annotations

from types import TracebackType

from fogline.serving.protocol.errors import ProtocolError


class ConcurrencyLimit:
    """Lets so many in at a time: ``with limit: …``. More are told to come back.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0

    def __enter__(self) -> None:
        if self.inside >= self._limit:
            raise ProtocolError(f"{self._limit} requests wait here already; try again soon.", 503)
        self.inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside -= 1
