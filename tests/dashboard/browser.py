"""What tests of the page share: a board that is served, requests to it without a browser, and a browser."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from fogline.dashboard.board import Board
from fogline.dashboard.server import served
from tests.patience import PATIENCE

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")


@dataclass
class Page:
    """A board's address, as a program sees it that is no browser."""

    address: str
    cookie: str = ""
    origin: str = field(init=False)
    key: str = field(init=False)
    host: str = field(init=False)

    def __post_init__(self) -> None:
        self.origin, _, self.key = self.address.partition("/#")
        self.host = self.origin.removeprefix("http://")

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> HTTPResponse:
        """A request with what a page of the board sends, but for ``headers``, by name with underscores."""
        given = {"Host": self.host, "Cookie": self.cookie}
        if method == "POST":
            given |= {"Origin": self.origin, "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection(self.host, timeout=PATIENCE)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {name: value for name, value in given.items() if value})
        return connection.getresponse()

    def sign_in(self) -> None:
        """Get the cookie."""
        answer = self.send("POST", "/api/session", self.key)
        assert answer.status == 204, answer.read()
        self.cookie = str(answer.getheader("set-cookie")).partition(";")[0]

    def ask(self, call: str, wanted: Any = None) -> tuple[int, Any]:
        """Status and answer of a call."""
        answer = self.send("POST", f"/api/ask/{call}", wanted or {})
        return answer.status, json.loads(answer.read())


@asynccontextmanager
async def opened(board: Board) -> AsyncGenerator[Page]:
    """A board that is served, and signed in to."""
    async with served(board) as serving:
        page = Page(serving.address)
        await asyncio.to_thread(page.sign_in)
        yield page


async def until(board: Board, is_so: Callable[[dict[str, Any]], Any]) -> Any:
    """Wait until what the board knows, by key, is so; what ``is_so`` has found."""
    known: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE):
        events = board.hub.events()
        try:
            async for several in events:
                for text in several.decode().split("\n\n")[:-1]:
                    kind, _, data = text.partition("\n")
                    said = json.loads(data.removeprefix("data: "))
                    key = kind.removeprefix("event: ") + (f"/{said['name']}" if said["name"] else "")
                    known[key] = said["data"]
                if found := is_so(known):
                    return found
        finally:
            await events.aclose()
    raise AssertionError(f"The board was closed. It knew {known}.")
