"""Serves a board until it is told to end."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

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
    with listening(HERE, port) as listener:
        host = f"{HERE}:{listener.getsockname()[1]}"
        key = secrets.token_urlsafe(24)
        following = asyncio.create_task(board.follow())
        try:
            async with answered(application(board, host, key), listener):
                try:
                    yield BoardServer(f"http://{host}/#{key}", following)
                finally:
                    board.hub.close()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@contextmanager
def listening(host: str, port: int) -> Generator[socket.socket]:
    """A socket that listens; who comes before a server has started waits.

    Raises:
        DashboardError: nobody can listen there.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            raise DashboardError(f"Port {port} of {host} cannot be had: {error.strerror}; name another") from error
        yield listener


@asynccontextmanager
async def answered(
    app: ASGIApp, listener: socket.socket, certificate: Path | None = None, key: Path | None = None
) -> AsyncGenerator[None]:
    """Answer whoever comes to a socket that listens, over TLS where there is a certificate (PEM) with its key.

    Raises:
        DashboardError: the certificate or its key cannot be used.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:
        raise DashboardError(f"{certificate} and {key} are no certificate and its key: {error.strerror}") from error
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)


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
