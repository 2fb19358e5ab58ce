"""Who may talk to a dashboard, over real sockets: other pages, other names and other programs may not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from fogline.dashboard.board import About, Answer
from fogline.dashboard.errors import BoardRequestError, DashboardError
from fogline.dashboard.hub import Hub
from fogline.dashboard.server import served
from tests.dashboard.browser import Page


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A request of the tests."""

    name: str


class Plain:
    """A board that notes what it is asked."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.about = About("plain", ("tree",), ("note",), "ann", "operator")
        self.noted: list[str] = []

    def answers(self) -> Mapping[str, Answer]:
        async def note(body: bytes) -> Any:
            wish = msgspec.json.decode(body, type=Wish)
            if wish.name == "nobody":
                raise BoardRequestError("There is nobody of that name; name another")
            self.noted.append(wish.name)
            return "noted"

        return {"note": note}

    async def follow(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def board() -> Iterator[tuple[Plain, str]]:
    """A board in a thread of its own, and its address."""
    plain, ready, addresses = Plain(), threading.Event(), list[str]()
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with served(plain) as serving:
            addresses.append(serving.address)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    ready.wait()
    yield plain, addresses[0]
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


@pytest.fixture(autouse=True)
def nothing_noted(board: tuple[Plain, str]) -> None:
    board[0].noted.clear()


@pytest.fixture
def page(board: tuple[Plain, str]) -> Page:
    signed_in = Page(board[1])
    signed_in.sign_in()
    return signed_in


def test_who_has_the_key_may_look_and_act(board: tuple[Plain, str], page: Page) -> None:
    assert json.loads(page.send("GET", "/api/about").read())["who"] == "ann"
    assert page.ask("note", {"name": "x"}) == (200, "noted")
    assert board[0].noted == ["x"]


@pytest.mark.parametrize("path", ["/api/about", "/api/events"])
def test_without_a_session_nothing_is_shown(board: tuple[Plain, str], path: str) -> None:
    stranger = Page(board[1])
    assert stranger.send("GET", path).status == 401
    assert stranger.ask("note", {"name": "x"})[0] == 401
    stranger.cookie = f"fogline-{stranger.host.rpartition(':')[2]}=guessed"
    assert stranger.send("GET", path).status == 401
    assert board[0].noted == []


@pytest.mark.parametrize("key", ["", "wrong", "x" * 100_000])
def test_a_wrong_key_gives_no_session(board: tuple[Plain, str], key: str) -> None:
    answer = Page(board[1]).send("POST", "/api/session", key)
    assert answer.status == 401
    assert answer.getheader("set-cookie") is None


def test_the_cookie_is_for_this_origin_and_no_script(board: tuple[Plain, str]) -> None:
    page = Page(board[1])
    cookie = str(page.send("POST", "/api/session", page.key).getheader("set-cookie"))
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert page.key not in cookie


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1"])
def test_another_name_that_leads_here_opens_nothing(page: Page, host: str) -> None:
    """DNS rebinding: the browser would send the name that the attacker owns."""
    assert page.send("GET", "/", Host=host).status == 421
    assert page.send("GET", "/api/about", Host=host).status == 421
    assert page.send("POST", "/api/session", page.key, Host=host).status == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", ""])
def test_another_page_changes_nothing(board: tuple[Plain, str], page: Page, origin: str) -> None:
    """Cross-site request forgery, even where the browser sent the cookie along."""
    assert page.send("POST", "/api/ask/note", {"name": "x"}, Origin=origin).status == 403
    assert board[0].noted == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_can_send_changes_nothing(board: tuple[Plain, str], page: Page, kind: str) -> None:
    assert page.send("POST", "/api/ask/note", {"name": "x"}, Content_Type=kind).status == 415
    assert board[0].noted == []


def test_every_answer_forbids_what_comes_from_elsewhere(page: Page) -> None:
    for path in ("/", "/static/app.js", "/api/about", "/nothing"):
        answer = page.send("GET", path)
        policy = str(answer.getheader("content-security-policy"))
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("x-content-type-options") == "nosniff"


@pytest.mark.parametrize(
    "path", ["/static/../guard.py", "/static/%2e%2e/guard.py", "/static/..%2fguard.py", "/static//etc/passwd"]
)
def test_only_the_page_s_own_files_are_served(page: Page, path: str) -> None:
    assert page.send("GET", path).status in (400, 401, 404)


def test_what_is_wrong_is_a_sentence(page: Page) -> None:
    assert page.ask("note", {"name": "nobody"}) == (400, {"error": "There is nobody of that name; name another"})
    status, said = page.ask("note", {"nam": "x"})
    assert (status, "nam" in said["error"]) == (400, True)
    assert page.ask("other")[0] == 404
    assert page.ask("note", {"name": "x" * 100_000})[0] == 413


def test_a_port_that_is_taken_is_a_sentence(board: tuple[Plain, str]) -> None:
    port = int(Page(board[1]).host.rpartition(":")[2])

    async def again() -> None:
        async with served(Plain(), port):
            raise AssertionError("It is served twice.")

    with pytest.raises(DashboardError, match=f"Port {port} of 127.0.0.1"):
        asyncio.run(again())
