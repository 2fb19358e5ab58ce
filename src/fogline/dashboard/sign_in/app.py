"""The page for people who sign in, over HTTP: to the provider, back again, and then each person's own board."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from fogline.dashboard.app import STATIC, page
from fogline.dashboard.guard import from_elsewhere, is_public, with_headers
from fogline.dashboard.sign_in.errors import SignInError, SignInSettingsError
from fogline.dashboard.sign_in.provider import BACK, OpenIdProvider
from fogline.dashboard.sign_in.rights import subject_of
from fogline.dashboard.sign_in.sessions import Sessions
from fogline.dashboard.sign_in.settings import SignIn, read_settings
from fogline.dashboard.sign_in.visits import LONGEST, Visits
from fogline.network.cloud.people import ProvidedPerson

log = logging.getLogger("fogline.dashboard")
START, OUT, ABOUT = "/sign-in/start", "/api/sign-out", "/api/about"
UNASKED = "This sign-in was not begun in this browser, or took longer than ten minutes; begin again."


class PeoplePage:
    """Answers whoever comes.

    Args:
        sign_in: the settings.
        sessions: who is signed in.
    """

    def __init__(self, sign_in: SignIn, sessions: Sessions) -> None:
        self._sign_in, self._settings, self._sessions = sign_in, sign_in.settings, sessions
        self._provider = OpenIdProvider(sign_in)
        self._visits = Visits(time.monotonic)
        secure, port = self._settings.is_secure, urlsplit(self._settings.address).port
        # The browser takes such a name only from this host itself. Without TLS it does not; and cookies know no ports.
        begin = "__Host-fogline" if secure else f"fogline-{port or 80}"
        self._visit, self._session = f"{begin}-visit", f"{begin}-session"
        self._way = Starlette(
            routes=[
                Route("/", page),
                Route(START, self._start),
                Route(BACK, self._back),
                Route(OUT, self._out, methods=["POST"]),
                Mount("/static", StaticFiles(directory=STATIC)),
            ]
        )

    async def look(self) -> None:
        """Find the provider now, so that the log says it before somebody comes and cannot sign in."""
        try:
            await self._provider.find()
        except SignInError as error:
            log.warning("nobody can sign in with %s: %s", self._settings.provider.issuer, error)

    def close(self) -> None:
        """Ask the provider no more."""
        self._provider.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._way(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        await self._app_for(asked, scope["method"])(scope, receive, with_headers(send))

    def _app_for(self, asked: HTTPConnection, method: str) -> ASGIApp:
        foreign = from_elsewhere(asked, method, self._settings.address)
        if foreign is not None:
            return JSONResponse({"error": foreign[1]}, status_code=foreign[0])
        if is_public(asked.url.path) or asked.url.path in (START, BACK, OUT):
            return self._way
        session = self._sessions.of(asked.cookies.get(self._session, ""))
        if session is not None:
            return session.app
        if asked.url.path != ABOUT:
            return JSONResponse({"error": "Sign in first."}, status_code=401)
        # Nobody is told with whom one signs in, and why that has failed.
        provider = self._settings.provider
        name = provider.name or urlsplit(provider.issuer).hostname
        return JSONResponse({"sign_in": name, "why": self._visits.why(asked.cookies.get(self._visit, ""))})

    async def _start(self, _: Request) -> Response:
        cookie, visit = self._visits.begin()
        try:
            to = await self._provider.begin(visit)
        except SignInError as error:
            self._visits.take(cookie)
            return self._failed(error)
        return self._remembering(RedirectResponse(to, 303), cookie)

    async def _back(self, request: Request) -> Response:
        """From the provider, with a code; it is used once, by the browser that went there."""
        try:
            cookie, minutes = await self._let_in(request)
        except SignInError as error:
            return self._failed(error)
        response = RedirectResponse("/", 303)  # So that the code stands in no history.
        self._forget(response, self._visit)
        response.set_cookie(
            self._session, cookie, max_age=int(60 * minutes), httponly=True, samesite="strict",
            secure=self._settings.is_secure, path="/",
        )  # fmt: skip
        return response

    async def _let_in(self, request: Request) -> tuple[str, float]:
        visit = self._visits.take(request.cookies.get(self._visit, ""))
        given = _once(request)
        if visit is None or given.get("state") != visit.state:
            raise SignInError(UNASKED)
        if given.get("iss", self._settings.provider.issuer) != self._settings.provider.issuer:  # RFC 9207.
            raise SignInError("Another provider has answered than was asked; begin again.")
        if "code" not in given:
            raise SignInError("The provider has not let you in; begin again, or ask there.")
        claims = await self._provider.end(given["code"], visit)
        person = ProvidedPerson(claims.iss, claims.sub)
        try:
            now = read_settings(self._sign_in.folder)  # The table may be another one by now.
            subject = subject_of(claims, now.provider.groups, now.allow)
        except SignInSettingsError as error:
            log.error("nobody can sign in: %s", error)
            raise SignInError("Nobody can sign in now: the settings are wrong; ask the cloud's operator.") from error
        except SignInError as error:
            await self._sessions.refused(person)
            raise error
        before = request.cookies.get(self._session, "")
        cookie = await self._sessions.open(person, subject, now.minutes)
        self._sessions.close(before)
        return cookie, now.minutes

    async def _out(self, request: Request) -> Response:
        self._sessions.close(request.cookies.get(self._session, ""))
        response = Response(status_code=204)
        self._forget(response, self._session)
        return response

    def _failed(self, error: SignInError) -> Response:
        log.info("a sign-in failed: %s", error)
        return self._remembering(RedirectResponse("/", 303), self._visits.fail(str(error)))

    def _remembering(self, response: Response, cookie: str) -> Response:
        """The browser comes back from another site, so this cookie is sent with what that leads to, too."""
        response.set_cookie(
            self._visit, cookie, max_age=int(LONGEST), httponly=True, samesite="lax",
            secure=self._settings.is_secure, path="/",
        )  # fmt: skip
        return response

    def _forget(self, response: Response, cookie: str) -> None:
        response.delete_cookie(cookie, path="/", secure=self._settings.is_secure, httponly=True)


def _once(request: Request) -> Mapping[str, str]:
    """What stands behind the ``?``, but for what stands there twice."""
    names = [name for name, _ in request.query_params.multi_items()]
    return {name: value for name, value in request.query_params.multi_items() if names.count(name) == 1}
