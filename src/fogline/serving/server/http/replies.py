"""HTTP answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

JSON, BINARY, HTML = b"application/json", b"application/octet-stream", b"text/html; charset=utf-8"
CLOSE, LATER = b"connection: close\r\n", b"retry-after: 1\r\n"
POLICY = (
    b"content-security-policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    b"connect-src 'self'; frame-ancestors 'none'\r\n"
)
STATUS = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}

_encode = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    """An answer that is ready to be sent: status, type and body."""

    status: int
    kind: bytes
    body: bytes
    more: bytes = b""
    """Further headers, as they are sent."""

    def on_the_wire(self, head_only: bool, close: bool) -> bytes:
        """Its bytes.

        Args:
            head_only: leave the body out, as HEAD wants it.
            close: say that the connection ends with it.
        """
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n%b" % (
            STATUS[self.status],
            self.kind,
            len(self.body),
            self.more,
            CLOSE if close else b"",
            b"" if head_only else self.body,
        )


def in_json(value: Any, status: int = 200) -> Reply:
    """A reply whose body is the value as JSON."""
    return Reply(status, JSON, _encode(value), _when(status))


def prediction(body: bytes, header: int | None) -> Reply:
    """An answer of a model; ``header``: bytes of its JSON, if there is more behind it."""
    if header is None:
        return Reply(200, JSON, body)
    return Reply(200, BINARY, body, b"inference-header-content-length: %d\r\n" % header)


def page(html: bytes) -> Reply:
    """A page that loads nothing from elsewhere."""
    return Reply(200, HTML, html, POLICY)


def refusal(why: str, status: int) -> Reply:
    """An error, in the protocol's shape."""
    return in_json({"error": why}, status)


def _when(status: int) -> bytes:
    """Says when to come back, where that helps."""
    return LATER if status == 503 else b""
