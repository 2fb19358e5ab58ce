"""Bodies of HTTP requests: read within limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

GZIP_OR_ZLIB = 47
TOGETHER = 4
"""Bodies of the largest size whose parts may be in memory at a time."""


class Gone(Exception):  # noqa: N818 - read aloud, it is what happened
    """Whoever asked has hung up."""


class Intake:
    """Reads bodies.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._largest = settings.largest
        self._deadline = settings.deadline
        self._held = 0

    async def read(self, receive: Receive, length: bytes | None, encoding: bytes) -> bytes:
        """A body.

        Args:
            receive: gives its parts.
            length: the header that says how long it is; None where there is none.
            encoding: how it is compressed.

        Raises:
            ProtocolError: it is too large, too slow, or not what it says.
            Gone: the sender has left.
        """
        if length is not None and int(length) > self._largest:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body: bytes = message["body"] if not message["more_body"] else await self._rest(receive, message["body"])
        if encoding:
            body = await asyncio.to_thread(self._inflated, body, encoding)
        return body

    async def _rest(self, receive: Receive, first: bytes) -> bytes:
        parts, size, more = [first], 0, True
        part = first
        try:
            async with asyncio.timeout(self._deadline):
                while True:
                    size += len(part)
                    self._held += len(part)
                    self._check(size)
                    if not more:
                        return b"".join(parts)
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    part, more = message["body"], message["more_body"]
                    parts.append(part)
        except TimeoutError:
            raise ProtocolError(f"The request did not come in within {self._deadline:g} s.", 408) from None
        finally:
            self._held -= size

    def _check(self, size: int) -> None:
        if size > self._largest:
            raise self._too_large()
        if self._held > TOGETHER * self._largest:
            raise ProtocolError("Too many large requests come in at once; try again soon.", 503)

    def _inflated(self, body: bytes, encoding: bytes) -> bytes:
        if encoding not in (b"gzip", b"deflate"):
            raise ProtocolError("The body is compressed in a way that is not known here; use gzip or deflate.", 415)
        inflater = zlib.decompressobj(GZIP_OR_ZLIB)
        try:
            made = inflater.decompress(body, self._largest + 1)
        except zlib.error as error:
            raise ProtocolError(f"The compressed body cannot be read: {error}.") from None
        if len(made) > self._largest:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise ProtocolError("The compressed body is cut off, or something follows it.")
        return made

    def _too_large(self) -> ProtocolError:
        return ProtocolError(f"The request is too large; the largest has {self._largest} bytes.", 413)
