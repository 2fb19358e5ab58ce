"""The dashboard over HTTP: the page, a stream of news, and what the page may ask."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from fogline.dashboard.board import Board
from fogline.dashboard.guard import Guard
from fogline.errors import FoglineError, InputError

log = logging.getLogger("fogline.dashboard")
STATIC = Path(__file__).parent / "static"
LARGEST = 64 << 10
"""Bytes of the largest request."""


def application(board: Board, host: str, key: str) -> ASGIApp:
    """What answers for a board of one person's own machine.

    Args:
        board: what is shown.
        host: where it is served, as browsers name it.
        key: opens it; see :mod:`fogline.dashboard.guard`.
    """
    return Guard(answering(board), host, key)


async def page(_: Request) -> Response:
    """The page itself, the same for everybody."""
    return FileResponse(STATIC / "index.html")


def answering(board: Board) -> Starlette:
    """What answers for a board to whoever asks: who may, others see to."""
    answers = board.answers()

    async def about(_: Request) -> Response:
        return _json(board.about)

    async def events(_: Request) -> Response:
        return StreamingResponse(board.hub.events(), media_type="text/event-stream")

    async def ask(request: Request) -> Response:
        name = request.path_params["call"]
        if name not in answers:
            raise HTTPException(404, f"There is no call '{name}' here, or it is not yours to make.")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST:
                raise HTTPException(413, "That is more than any request has.")
        return _json(await answers[name](body))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/about", about),
            Route("/api/events", events),
            Route("/api/ask/{call}", ask, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={
            HTTPException: _refused,
            FoglineError: _failed,
            msgspec.ValidationError: _failed,
            msgspec.DecodeError: _failed,
        },
    )


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _failed(_: Request, error: Exception) -> Response:
    """What went wrong, as a sentence for the page."""
    wrong = isinstance(error, InputError | msgspec.DecodeError)
    log.info("a request failed: %s", error)
    return JSONResponse({"error": str(error)}, status_code=400 if wrong else 502)
