"""Serves a board until it is told to end."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

import uvicorn

from fogline.dashboard.app import application
from fogline.dashboard.board import Board
from fogline.dashboard.errors import DashboardError

HERE = "127.0.0.1"


@dataclass(frozen=True)
class BoardServer:
    """A board that is served."""

    address: str
    """To open, with its key."""
    following: asyncio.Task[None]
    """What follows what is shown; it ends with an error where that cannot be followed any more."""


@asynccontextmanager
async def served(board: Board, port: int = 0) -> AsyncGenerator[BoardServer]:
    """Serve a board on this machine's loopback address.

    Others cannot reach it. Who wants to look from another machine brings the port there with ``ssh -L``.

    Args:
        board: what is shown.
        port: 0 takes a free one.

    Raises:
        DashboardError: the port is taken.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HERE, port))
            listener.listen()  # Who comes before the server has started waits.
        except OSError as error:
            raise DashboardError(
                f"Port {port} of {HERE} cannot be had: {error.strerror}; name another, or 0"
            ) from error
        host = f"{HERE}:{listener.getsockname()[1]}"
        key = secrets.token_urlsafe(24)
        config = uvicorn.Config(
            application(board, host, key),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        following = asyncio.create_task(board.follow())
        try:
            yield BoardServer(f"http://{host}/#{key}", following)
        finally:
            board.hub.close()
            following.cancel()
            server.should_exit = True
            await asyncio.gather(serving, following, return_exceptions=True)


async def until_ended(board: Board, port: int) -> None:
    """Serve a board, print where, and go on until this task is cancelled (Ctrl-C), or what is shown cannot be followed
    any more."""
    async with served(board, port) as serving:
        print(f"Open {serving.address}\nOnly this machine can. Stop it with Ctrl-C.", flush=True)
        await serving.following


class _Server(uvicorn.Server):
    """One of several things that a program does: signals are the program's own."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave them alone."""
        return nullcontext()
