"""The node's side of the fork server: worker processes that share what they have imported.

Where ``FOGLINE_FORKS`` names the socket of a fork server (``fogline up`` starts one), a worker is forked there instead
of being started anew. It takes a fifth of a second and what it changes of memory, where a process of its own takes
seconds and all of it. Where that is not possible, the worker becomes a process of its own, and the log says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path
from typing import BinaryIO

import msgspec

from fogline.processes.messages import decoder, encode
from fogline.processes.process import RunningProcess, module

log = logging.getLogger("fogline.network")
VARIABLE = "FOGLINE_FORKS"
"""Names the socket. It is not handed on to workers."""
PROGRAM = "fogline.network.worker.program"
LARGEST = 192 << 10
"""Bytes of a message: what a packet may have on every Linux."""


class Fork(msgspec.Struct, frozen=True, tag=True):
    """Node to server: fork a worker. Its log and its socket come beside, as descriptors."""

    threads: int
    environment: dict[str, str]
    folder: str
    """Where it works."""


class Forked(msgspec.Struct, frozen=True, tag=True):
    """Server to node: it runs."""

    pid: int


class ForkRefused(msgspec.Struct, frozen=True, tag=True):
    """Server to node: it cannot be forked here."""

    why: str


class WorkerExited(msgspec.Struct, frozen=True, tag=True):
    """Server to node: the worker has ended; the status is that of :class:`subprocess.Popen`."""

    status: int


REPLIES = decoder(Forked | ForkRefused | WorkerExited)


class ForkedWorker:
    """A worker process that a fork server started. The server ends it when this connection ends.

    Args:
        pid: of the worker.
        connection: to the server.
    """

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self._pid = pid
        self._status: int | None = None
        self._connection = connection
        self._ending = asyncio.create_task(self._await_end())

    @property
    def pid(self) -> int:
        """Process number of the worker."""
        return self._pid

    @property
    def returncode(self) -> int | None:
        """Its status; None while it runs."""
        return self._status

    def kill(self) -> None:
        """End it at once: only its parent knows for sure that this number is still its own."""
        if self._status is None:
            self._connection.shutdown(socket.SHUT_WR)

    async def wait(self) -> int:
        """Wait for its end; its status."""
        return await asyncio.shield(self._ending)

    async def _await_end(self) -> int:
        """A server that is gone has taken its workers with it."""
        with self._connection:
            data = await asyncio.get_running_loop().sock_recv(self._connection, LARGEST)
        reply = REPLIES.decode(data) if data else None
        self._status = reply.status if isinstance(reply, WorkerExited) else -9
        return self._status


async def start_worker(log_file: BinaryIO, threads: int) -> tuple[RunningProcess, socket.socket]:
    """Start a worker process, forked where that is possible; gives it and the node's end of its socket.

    Args:
        log_file: takes what it prints.
        threads: that its numerical libraries may use.

    Raises:
        OSError: it cannot be started.
    """
    server = os.environ.get(VARIABLE, "")
    if server:
        try:
            return await _fork(server, log_file, threads)
        except OSError as error:
            log.warning("a worker is not forked but started anew, which takes more time and memory: %s", error)
    return await module(PROGRAM)(log_file, threads)


async def _fork(server: str, log_file: BinaryIO, threads: int) -> tuple[RunningProcess, socket.socket]:
    """Ask the server.

    Raises:
        OSError: there is none, or it refuses.
    """
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    request = encode(Fork(threads, environment, str(Path.cwd())))
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = socket.socketpair()
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, server)
        with theirs:
            socket.send_fds(connection, [request], [log_file.fileno(), theirs.fileno()])
        reply = REPLIES.decode(await loop.sock_recv(connection, LARGEST) or encode(ForkRefused("it has just ended")))
        if not isinstance(reply, Forked):
            raise OSError(reply.why if isinstance(reply, ForkRefused) else "the fork server answered something else")
    except BaseException:
        connection.close()
        ours.close()
        theirs.close()
        raise
    return ForkedWorker(reply.pid, connection), ours
