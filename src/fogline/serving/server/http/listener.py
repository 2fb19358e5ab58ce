"""Listening for HTTP."""

from __future__ import annotations

import asyncio

from fogline.serving.server.http.connection import Connection
from fogline.serving.server.http.dispatch import Dispatcher

GRACE = 10.0
"""Seconds that requests have to end when the server does."""
BACKLOG = 512


class HttpListener:
    """Serves a site over HTTP.

    Args:
        site: answers.
    """

    def __init__(self, site: Dispatcher) -> None:
        self._site = site
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; the address, with the port that was taken.

        Raises:
            OSError: nobody can listen there.
        """
        wanted = self._site.settings.listen
        host, port = address_of(wanted)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._connection, host, port, backlog=BACKLOG)
        except OSError as error:
            raise OSError(
                f"Nobody can listen at {wanted}: it is taken, or is no address of this machine; choose another "
                "with --http"
            ) from error
        taken_host, taken_port = self._server.sockets[0].getsockname()[:2]
        return f"[{taken_host}]:{taken_port}" if ":" in taken_host else f"{taken_host}:{taken_port}"

    async def stop(self) -> None:
        """Take no more requests, and end when those that came are answered."""
        if self._server is None:
            return
        self._server.close()
        open_ = list(self._connections)
        for connection in open_:
            connection.stop()
        ends = [connection.ended for connection in open_]
        if ends:
            await asyncio.wait(ends, timeout=GRACE)

    def _connection(self) -> Connection:
        return Connection(self._site, self._connections)


def address_of(text: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        OSError: it is no address.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise OSError(f"'{text}' is no address to listen at; write HOST:PORT, such as 127.0.0.1:8080.")
    return host.strip("[]"), int(port)
