"""One HTTP connection: requests are parsed by llhttp, checked while they come in, and answered in order.

An answer that needs no waiting is written within the call that brings the request: no task is made for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import MutableSet
from enum import Enum, auto
from typing import cast

import httptools

from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.http.dispatch import Dispatcher
from fogline.serving.server.http.replies import Reply
from fogline.serving.server.http.routes import HttpRequest

LARGEST_HEAD = 32 << 10
"""Bytes of the largest head of a request: its line and its headers."""
IDLE = 75.0
"""Seconds after which a connection without requests is closed."""


class ConnectionState(Enum):
    """Which part of a request a connection expects next."""

    NOTHING = auto()
    """A request, if there is one more."""
    HEAD = auto()
    BODY = auto()


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        site: answers.
        others: all connections; this one is among them while it is open.
    """

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self, site: Dispatcher, others: MutableSet[Connection]) -> None:
        self._site = site
        self._others = others
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._due: deque[tuple[HttpRequest | Reply, bool]] = deque()
        """Requests (or what they are refused with) that wait for those before them, and whether the connection goes on
        after the answer."""
        self._task: asyncio.Task[Reply] | None = None
        """The answer that is being made."""
        self._last = False
        """Nothing more is taken: the connection ends with the answers that are due."""
        self._blocked = False
        """They ask more quickly than they read."""
        self._stopping = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when it is closed."""
        self._begin()
        self._enter(ConnectionState.HEAD)

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(self._site.settings.deadline, self._check_time)
        self._others.add(self)
        if len(self._others) > self._site.settings.connections:
            self._end(503, "Too many connections are open; try again soon.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._last = True
        self._others.discard(self)
        self._site.held -= self._size
        self._due.clear()
        self._timer.cancel()
        self.ended.set_result(None)
        del self._parser  # It knows this connection, too.
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()  # Another protocol would follow, which is not spoken here.
        except httptools.HttpParserError:
            self._end(400, "What was sent is no HTTP request.")
        if self._stage is ConnectionState.HEAD:
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                self._end(431, "The head of the request is too large.")

    def pause_writing(self) -> None:
        self._blocked, self._since = True, self._loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._blocked = False
        self._next()

    # The parser

    def on_message_begin(self) -> None:
        self._begin()
        self._enter(ConnectionState.HEAD)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage is ConnectionState.HEAD:  # What stands behind a body is no part of it.
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._enter(ConnectionState.BODY)
        self._keep = self._parser.get_http_version() == "1.1" and self._parser.should_keep_alive()
        length = self._headers.get(b"content-length")
        if length is not None:
            self._check_length(int(length))
        if b"expect" in self._headers and not self._dropping and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if not self._dropping:
            self._parts.append(body)
            self._size += len(body)
            self._site.held += len(body)
            self._check_length(self._size)

    def on_message_complete(self) -> None:
        parts = self._parts
        self._forget()
        self._enter(ConnectionState.NOTHING)
        if not self._dropping:
            path = _path(self._url)
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            came = self._site.turn(self._loop)
            call = HttpRequest(self._parser.get_method().decode("ascii"), path, self._headers, body, came=came)
            if self._parser.should_upgrade() and call.method == "POST":
                # The parser takes the body for the other protocol.
                self._end(400, "Only HTTP/1.1 is spoken here; leave out the header Upgrade.")
            self._take(call, self._keep and not self._stopping)

    # A request

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._size = self._head = 0
        self._keep = True
        self._dropping = False
        """Whether the request was refused already, so that the rest of it is of no interest."""

    def _enter(self, stage: ConnectionState) -> None:
        self._stage, self._since = stage, self._loop.time()

    def _forget(self) -> None:
        self._site.held -= self._size
        self._size, self._parts = 0, []

    def _check_length(self, size: int) -> None:
        try:
            self._site.check_length(size)
        except ProtocolError as error:
            self._forget()
            self._dropping = True
            self._take(self._site.refuse(error), keep=self._keep)

    # Answers

    def _take(self, asked: HttpRequest | Reply, keep: bool) -> None:
        if self._last:
            return
        self._last = not keep
        self._due.append((asked, keep))
        if self._task is None:
            self._next()
        else:
            self._transport.pause_reading()

    def _next(self) -> None:
        """Answer what is due, until something takes a while."""
        while self._due and self._task is None and not self._blocked:
            asked, keep = self._due.popleft()
            found = asked if isinstance(asked, Reply) else self._site.answer(asked)
            head_only = isinstance(asked, HttpRequest) and asked.method == "HEAD"
            if isinstance(found, Reply):
                self._write(found, head_only, keep)
            else:
                self._task = self._loop.create_task(found)
                self._task.add_done_callback(lambda task, keep=keep, head=head_only: self._done(task, head, keep))
        if not self._due and self._task is None and not self._blocked:
            if self._last:
                self._transport.close()
            else:
                self._transport.resume_reading()

    def _done(self, task: asyncio.Task[Reply], head_only: bool, keep: bool) -> None:
        self._task = None
        if not task.cancelled():
            self._write(task.result(), head_only, keep)
            self._next()

    def _write(self, reply: Reply, head_only: bool, keep: bool) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply.on_the_wire(head_only, close=not keep))

    # The end

    def stop(self) -> None:
        """Answer the request that is coming in, if one is, and end."""
        self._stopping = True
        if self._stage is ConnectionState.NOTHING or (self._stage is ConnectionState.HEAD and not self._head):
            self._finish()

    def _finish(self) -> None:
        """End after the answers that are due."""
        self._last = True
        self._next()

    def _end(self, status: int, why: str) -> None:
        """Refuse what comes in, and end after the answers that are due."""
        if not self._last:
            self._enter(ConnectionState.NOTHING)
            self._take(self._site.refuse(ProtocolError(why, status)), keep=False)

    def _check_time(self) -> None:
        """Look whether something takes too long. It is looked for now and then, so that requests touch no timer."""
        deadline = self._site.settings.deadline
        waiting = self._stage is ConnectionState.NOTHING and not self._blocked
        left = self._since + (IDLE if waiting else deadline) - self._loop.time()
        if left <= 0 and self._blocked:
            self._transport.abort()
        elif left <= 0 and not waiting:
            self._end(408, f"The request did not come in within {deadline:g} s.")
        elif left <= 0 and self._task is None:
            self._transport.close()
        self._timer = self._loop.call_later(min(max(left, 0.01), deadline), self._check_time)


def _path(target: bytes) -> str:
    """Of a request's target, which may name the server as well, as if it were a proxy."""
    if target.startswith((b"http://", b"https://")):
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    return target.partition(b"?")[0].decode("ascii", "replace")
