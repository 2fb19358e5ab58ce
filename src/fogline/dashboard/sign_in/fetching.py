"""Asking a provider: three small requests, each over TLS, with a limit of time and of bytes, and to nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

import msgspec

from fogline.dashboard.sign_in.errors import SignInError
from fogline.dashboard.sign_in.settings import checked_url, is_local
from fogline.decoding import UNREADABLE

log = logging.getLogger("fogline.dashboard")
QUIET = 10.0
"""Seconds without a word from the provider,"""
LONGEST = 20.0
"""and of a whole answer."""
LARGEST = 1 << 20
"""Bytes of an answer."""
THREADS = 4
"""Requests at a time,"""
MOST = 64
"""and with those that wait for their turn."""
CODE = re.compile(r"[a-z_]{1,40}")
"""Of errors, as RFC 6749 names them; whatever else stands there is nobody's to read."""


class Fetcher:
    """Asks one provider, on threads of its own: where it is slow, who signs in waits, and nothing else in the cloud's
    process, which keeps its records and folds its rounds on threads, too."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "fogline-sign-in")
        self._asked = 0

    async def fetch(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON that a provider answers.

        Args:
            url: where.
            form: what is sent, with POST; None: nothing, with GET.
            headers: of the request.

        Raises:
            SignInError: it does not answer, or not with JSON, or refuses; or too many people sign in.
        """
        if checked_url(url) is not None:
            raise SignInError("The provider names an address that is not https; ask the cloud's operator.")
        body = None if form is None else urlencode(form).encode()
        request = urllib.request.Request(url, body, {"Accept": "application/json", **(headers or {})})
        try:
            data = await self._in_turn(request)
        except HTTPError as error:
            raise SignInError(f"The provider refuses ({_reason(error)}); begin again.") from None
        except (OSError, HTTPException) as error:
            log.warning("%s does not answer a sign-in: %s", urlsplit(url).hostname, error)
            raise SignInError("The provider does not answer; try again later, or ask the cloud's operator.") from None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise SignInError("The provider answers what is no JSON; ask the cloud's operator.") from None

    def close(self) -> None:
        """Ask no more; what waits for its turn is not asked."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, request: urllib.request.Request) -> bytes:
        if self._asked >= MOST:
            raise SignInError("Too many people sign in just now; try again in a minute.")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _answer, request)
        finally:
            self._asked -= 1


class _Staying(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: what is sent holds a secret."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Nowhere: then the answer counts as an error."""


def _answer(request: urllib.request.Request) -> bytes:
    direct = [urllib.request.ProxyHandler({})] if is_local(urlsplit(request.full_url).hostname or "") else []
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    end = time.monotonic() + LONGEST
    with urllib.request.build_opener(_Staying, tls, *direct).open(request, timeout=QUIET) as answer:
        return _read(answer, end)


def _read(answer: HTTPResponse, end: float) -> bytes:
    found = b""
    while piece := answer.read1(LARGEST):
        found += piece
        if len(found) > LARGEST or time.monotonic() > end:
            raise TimeoutError("the answer does not end")
    return found


def _reason(error: HTTPError) -> str:
    """What kind of refusal it is."""
    try:
        said = msgspec.json.decode(error.read(LARGEST), type=dict[str, Any]).get("error", "")
    except (OSError, HTTPException, *UNREADABLE):
        said = ""
    return said if isinstance(said, str) and CODE.fullmatch(said) else f"status {error.code}"
