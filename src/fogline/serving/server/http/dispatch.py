"""What all HTTP connections of a server share."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.failures import explained
from fogline.serving.server.http.replies import Reply, refusal
from fogline.serving.server.http.routes import Found, Handler, HttpRequest, Route, Routes
from fogline.serving.settings import Settings

TOGETHER = 4
"""Bodies of the largest size that may be coming in at a time."""
GZIP_OR_ZLIB = 47


class Dispatcher:
    """Answers requests, whatever connection they came over.

    Args:
        operations: what can be asked.
        settings: the limits.
        refused: where refusals are counted, by status.
    """

    def __init__(self, operations: Sequence[Route], settings: Settings, refused: Counter[int]) -> None:
        self.settings = settings
        self.held = 0
        """Bytes of bodies that are coming in."""
        self._turn: int | None = None
        self._routes = Routes(operations)
        self._refused = refused

    def answer(self, call: HttpRequest) -> Found:
        """The answer to a request, whatever it is."""
        headers = call.headers
        try:
            if b"origin" in headers and call.method == "POST":
                _check_origin(headers[b"origin"], headers.get(b"host", b""))
            handler = self._routes.find(call)
            if headers.get(b"content-encoding", b"identity").lower() != b"identity":
                return self._later(call, self._inflated(call, handler))
            found = handler(call)
        except Exception as error:  # noqa: BLE001 - one request must not end the server, nor show it from inside
            return self.refuse(error, call)
        return found if isinstance(found, Reply) else self._later(call, found)

    def turn(self, loop: asyncio.AbstractEventLoop) -> int:
        """When this turn of the event loop began to take in requests, by :func:`time.perf_counter_ns`: all that it
        takes in were there by then, and those that are answered last have waited for the others."""
        if self._turn is None:
            self._turn = time.perf_counter_ns()
            loop.call_soon(self._end_turn)
        return self._turn

    def _end_turn(self) -> None:
        self._turn = None

    def check_length(self, size: int) -> None:
        """That a body may have so many bytes.

        Raises:
            ProtocolError: it may not, or not now.
        """
        if size > self.settings.largest:
            raise self._too_large()
        if self.held > TOGETHER * self.settings.largest:
            raise ProtocolError("Too many large requests come in at once; try again soon.", 503)

    def refuse(self, error: Exception, call: HttpRequest | None = None) -> Reply:
        """The answer to what cannot be answered."""
        refused = explained(error, f"{call.method} {call.path}" if call is not None else "A request")
        self._refused[refused.status] += 1
        return refusal(str(refused), refused.status)

    async def _later(self, call: HttpRequest, work: Coroutine[Any, Any, Reply]) -> Reply:
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - as above
            return self.refuse(error, call)

    async def _inflated(self, call: HttpRequest, handler: Handler) -> Reply:
        call.body = await asyncio.to_thread(self._inflate, call.body, call.headers[b"content-encoding"].lower())
        found = handler(call)
        return found if isinstance(found, Reply) else await found

    def _inflate(self, body: bytes, encoding: bytes) -> bytes:
        if encoding not in (b"gzip", b"deflate"):
            raise ProtocolError("The body is compressed in a way that is not known here; use gzip or deflate.", 415)
        inflater = zlib.decompressobj(GZIP_OR_ZLIB)
        try:
            made = inflater.decompress(body, self.settings.largest + 1)
        except zlib.error as error:
            raise ProtocolError(f"The compressed body cannot be read: {error}.") from None
        if len(made) > self.settings.largest:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise ProtocolError("The compressed body is cut off, or something follows it.")
        return made

    def _too_large(self) -> ProtocolError:
        return ProtocolError(f"The request is too large; the largest has {self.settings.largest} bytes.", 413)


def _check_origin(origin: bytes, host: bytes) -> None:
    """A page of another site must not use a person's browser to get at a server that only listens here."""
    if origin.partition(b"//")[2] != host:
        raise ProtocolError("A page of another site may not ask here.", 403)
