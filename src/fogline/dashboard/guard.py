"""Who may talk to a dashboard: the browser that was given its address, and no page of others.

The address that is printed has a key behind ``#``, which browsers do not send. The page hands it in once and gets a
cookie for it that only this origin's own pages send (``SameSite=Strict``) and no script can read (``HttpOnly``).
Besides, requests must name this host, so that a name of others that leads here (DNS rebinding) opens nothing, and what
changes something must come from this origin and as JSON, which no form of another page can send.
"""

from __future__ import annotations

import hmac
import secrets

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PUBLIC = ("/", "/static/")
"""Paths that hold nothing but the page itself: the whole path, or, with a slash at its end, what is below."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: the page loads nothing from elsewhere, and stands in no frame."""
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
SESSION = "/api/session"


def from_elsewhere(asked: HTTPConnection, method: str, origin: str) -> tuple[int, str] | None:
    """Status and sentence, where a request names another host than this one, or changes something and is not made by
    a page of this origin (``http://127.0.0.1:8000``)."""
    host = origin.partition("://")[2]
    if asked.headers.get("host") != host:
        return 421, f"This is {host}; open the address that Fogline has printed."
    if method not in ("GET", "HEAD"):
        if asked.headers.get("origin") != origin:
            return 403, "Only the page of this dashboard may change something."
        if asked.headers.get("content-type") != "application/json":
            return 415, "Send JSON."
    return None


def is_public(path: str) -> bool:
    """Whether a path holds nothing but the page itself."""
    return any(path == one or (one != "/" and path.startswith(one)) for one in PUBLIC)


def with_headers(send: Send) -> Send:
    """Adds to every answer what makes the page load nothing from elsewhere."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *RAW_HEADERS]
        await send(message)

    return sending


class Guard:
    """Middleware: refuses what comes from elsewhere.

    Args:
        app: what is guarded.
        host: where it is served, as browsers name it: ``127.0.0.1:8000``.
        key: what the address has behind ``#``.
    """

    def __init__(self, app: ASGIApp, host: str, key: str) -> None:
        self._app = app
        self._host = host
        self._key = key
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"fogline-{host.rpartition(':')[2]}"  # Cookies know no ports, and one machine may have several.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refusal(HTTPConnection(scope), scope["method"])
        if refused is not None:
            answer: ASGIApp = JSONResponse({"error": refused[1]}, status_code=refused[0])
        elif scope["path"] == SESSION:
            answer = await self._signed_in(scope, receive)
        else:
            answer = self._app

        await answer(scope, receive, with_headers(send))

    def _refusal(self, asked: HTTPConnection, method: str) -> tuple[int, str] | None:
        """Status and sentence, where a request is refused."""
        foreign = from_elsewhere(asked, method, f"http://{self._host}")
        if foreign is not None or is_public(asked.url.path) or asked.url.path == SESSION or self._has_session(asked):
            return foreign
        return 401, "Open the address that fogline board has printed, with all that stands behind its #."

    def _has_session(self, asked: HTTPConnection) -> bool:
        return hmac.compare_digest(asked.cookies.get(self._cookie, "").encode(), self._session.encode())

    async def _signed_in(self, scope: Scope, receive: Receive) -> Response:
        """A cookie for whoever has the key."""
        if scope["method"] != "POST":
            return JSONResponse({"error": "Send the key with POST."}, status_code=405)
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body") or not hmac.compare_digest(body, f'"{self._key}"'.encode()):
            return JSONResponse({"error": "That key opens nothing here."}, status_code=401)
        response = Response(status_code=204)
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
        return response
