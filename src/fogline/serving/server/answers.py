"""HTTP answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")
HTML = (b"content-type", b"text/html; charset=utf-8")
CLOSE = (b"connection", b"close")
LATER = (b"retry-after", b"1")
POLICY = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    b"frame-ancestors 'none'",
)

_encode = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: Headers
    body: bytes


def in_json(value: Any, status: int = 200) -> Reply:
    """A value as JSON."""
    body = _encode(value)
    return Reply(status, [JSON, (b"content-length", b"%d" % len(body))], body)


def prediction(body: bytes, header: int | None) -> Reply:
    """An answer of a model; ``header``: bytes of its JSON, if there is more behind it."""
    length = (b"content-length", b"%d" % len(body))
    if header is None:
        return Reply(200, [JSON, length], body)
    return Reply(200, [BINARY, length, (b"inference-header-content-length", b"%d" % header)], body)


def page(html: bytes) -> Reply:
    """A page that loads nothing from elsewhere."""
    return Reply(200, [HTML, POLICY, (b"content-length", b"%d" % len(html))], html)


def text(body: bytes, kind: bytes) -> Reply:
    """Text of some kind."""
    return Reply(200, [(b"content-type", kind), (b"content-length", b"%d" % len(body))], body)


def refusal(why: str, status: int) -> Reply:
    """An error, in the protocol's shape."""
    reply = in_json({"error": why}, status)
    if status == 503:
        reply.headers.append(LATER)
    if status == 408:
        reply.headers.append(CLOSE)
    return reply
