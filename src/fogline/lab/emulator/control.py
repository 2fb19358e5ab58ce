"""The emulator's end of the control socket: a line of JSON asks, a line of JSON answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from fogline.lab.errors import LabError
from fogline.lab.loop import EventLoop

MOST = 1 << 20
"""Bytes of the longest command."""
ANSWER_SECONDS = 5.0
"""A client that does not read its answer must not hold up the packets for longer."""

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Does a command. A LabError becomes the answer ``{"error": sentence}``."""


class Control:
    """Listens on a Unix socket within the emulator's loop."""

    def __init__(self, loop: EventLoop, path: Path, handler: Handler) -> None:
        self._loop, self._handler = loop, handler
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._listener.setblocking(False)
        loop.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        self._loop.watch(connection.fileno(), partial(self._read, connection, bytearray()))

    def _read(self, connection: socket.socket, before: bytearray) -> None:
        try:
            before += (piece := connection.recv(65536))
        except BlockingIOError:
            return
        except ConnectionError:
            piece = b""
        if not piece or len(before) > MOST:
            self._leave(connection)
            return
        while b"\n" in before:
            line, _, rest = before.partition(b"\n")
            before[:] = rest
            if not self._answer(connection, bytes(line)):
                return

    def _answer(self, connection: socket.socket, line: bytes) -> bool:
        try:
            command: object = json.loads(line)
            if not isinstance(command, dict):
                raise LabError("A command is a table.")
            answer = self._handler(cast("dict[str, Any]", command))
        except (LabError, json.JSONDecodeError, UnicodeDecodeError) as wrong:
            answer = {"error": str(wrong)}
        try:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(json.dumps(answer).encode() + b"\n")
            connection.setblocking(False)
        except OSError:
            self._leave(connection)
            return False
        return True

    def _leave(self, connection: socket.socket) -> None:
        self._loop.forget(connection.fileno())
        connection.close()
