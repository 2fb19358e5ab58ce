"""A network between us and PostgreSQL that breaks at the worst moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

COMMIT = b"COMMIT\0"


class Proxy:
    """Forwards connections to a port, until a commit comes by."""

    def __init__(self, target: int) -> None:
        self.fault: str | None = None
        """What happens to the next commit: "lost" before it arrives, or its "answer" is lost."""
        self.faults = 0
        self.down = False
        """Whether new connections are turned away."""
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                if self.down:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._there, args=(near, far), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near), daemon=True).start()

    def _there(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError), near, far:
            while data := near.recv(65536):
                if COMMIT in data and self.fault is not None:
                    fault, self.fault = self.fault, None
                    self.faults += 1
                    # Nothing comes back any more, whatever the server says to it.
                    near.shutdown(socket.SHUT_RDWR)
                    if fault == "answer":
                        far.sendall(data)
                    far.shutdown(socket.SHUT_WR)
                    return
                far.sendall(data)

    @staticmethod
    def _pump(far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data)
        with suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)


@contextmanager
def broken_network(target: int) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
