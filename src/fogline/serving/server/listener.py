"""HTTP connections: uvicorn's protocol, with limits on what comes before a body."""

from __future__ import annotations

import asyncio

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from fogline.serving.server.answers import CLOSE, Reply, refusal
from fogline.serving.server.app import App
from fogline.serving.server.settings import Settings

LARGEST_HEAD = 32 << 10
"""Bytes of the largest head of a request: its line and its headers."""
IDLE = 75
"""Seconds after which a connection without requests is closed."""
GRACE = 10.0
"""Seconds that requests have to end when the server does."""


class Listener:
    """Serves an application over HTTP.

    Args:
        app: the application.
        settings: the limits.
    """

    def __init__(self, app: App, settings: Settings) -> None:
        self._config = Config(
            app,
            lifespan="off",
            interface="asgi3",
            ws="none",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=IDLE,
        )
        self._config.load()
        self._state = ServerState()
        self._settings = settings
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; the address, with the port that was taken.

        Raises:
            OSError: nobody can listen there.
        """
        host, port = address_of(self._settings.listen)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._connection, host, port, backlog=512)
        except OSError as error:
            raise OSError(
                f"Nobody can listen at {self._settings.listen}: it is taken, or is no address of this machine."
            ) from error
        taken = self._server.sockets[0]
        taken_host, taken_port = taken.getsockname()[:2]
        return f"[{taken_host}]:{taken_port}" if ":" in taken_host else f"{taken_host}:{taken_port}"

    async def stop(self) -> None:
        """Take no more requests, and end when those that came are answered."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=GRACE)
        await self._server.wait_closed()

    def _connection(self) -> _Connection:
        return _Connection(self._config, self._state, self._settings)


class _Connection(HttpToolsProtocol):
    """A connection whose heads are short and come soon."""

    def __init__(self, config: Config, state: ServerState, settings: Settings) -> None:
        super().__init__(config, state, {})
        self._settings = settings
        self._in_head = True
        self._head = 0
        """Bytes of a head that came in pieces."""
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > self._settings.connections:
            self._refuse(503, "Too many connections are open; try again soon.")
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                self._refuse(431, "The head of the request is too large.")
            elif self._patience is None:
                self._wait()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        if self._patience is not None:
            self._stop_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "What was sent is no HTTP request.")

    def _wait(self) -> None:
        self._patience = self.loop.call_later(self._settings.deadline, self._impatient)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _impatient(self) -> None:
        self._refuse(408, f"No request came in within {self._settings.deadline:g} s.")

    def _refuse(self, status: int, why: str) -> None:
        self._in_head = False
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(on_the_wire(refusal(why, status)))
            self.transport.close()


def on_the_wire(reply: Reply) -> bytes:
    """An answer as it is sent where no application does it; the connection ends with it."""
    lines = [STATUS_LINE[reply.status], *(b"%b: %b\r\n" % header for header in reply.headers if header != CLOSE)]
    return b"".join((*lines, b"connection: close\r\n\r\n", reply.body))


def address_of(text: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        OSError: it is no address.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise OSError(f"'{text}' is no address to listen at; write HOST:PORT, such as 127.0.0.1:8080.")
    return host.strip("[]"), int(port)
