"""A few pages over HTTP, for machines: as little as they need, in every node, also a small one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from fogline.network.timing import PATIENCE

LARGEST = 8 << 10
"""Bytes of a request."""
MOST = 16
"""Connections at once; more are closed."""
GONE = (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
PLAIN = b"text/plain; charset=utf-8"


class Page(NamedTuple):
    """An answer."""

    status: HTTPStatus
    body: bytes
    kind: bytes = PLAIN


Pages = Mapping[str, Callable[[], Page]]
"""What is answered, by path."""


class PageServer:
    """Answers GET and HEAD for some paths; every connection ends with its answer.

    Args:
        pages: by path.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int) -> str:
        """Listen; the address, with the port that was taken.

        Raises:
            OSError: nobody can listen there.
        """
        self._server = await asyncio.start_server(self._serve, host, port, limit=LARGEST)
        taken_host, taken_port = self._server.sockets[0].getsockname()[:2]
        return f"[{taken_host}]:{taken_port}" if ":" in taken_host else f"{taken_host}:{taken_port}"

    async def stop(self) -> None:
        """Listen no more, and answer nobody."""
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        # Who asks may go away, or send what is no request, at any moment: nobody else is concerned.
        try:
            async with asyncio.timeout(PATIENCE):
                if len(self._open) <= MOST:
                    writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except GONE:
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if method not in (b"GET", b"HEAD"):
            page = Page(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD are answered here.\n")
        elif path in self._pages:
            page = self._pages[path]()
        else:
            page = Page(HTTPStatus.NOT_FOUND, f"There are {', '.join(self._pages)}.\n".encode())
        return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
            page.status.value,
            page.status.phrase.encode(),
            page.kind,
            len(page.body),
            b"" if method == b"HEAD" else page.body,
        )
