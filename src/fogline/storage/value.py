"""What a journal says about a blob, and how digests look."""

from __future__ import annotations

import re

import msgspec

_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobRef(msgspec.Struct, frozen=True, gc=False):
    """A blob that a stream needs, under a name."""

    digest: str
    """sha256 in hex."""
    size: int
    """Bytes."""
    kind: str
    """What its bytes are: the reader's affair."""
    data: bytes = b""
    """The bytes themselves, where they are few: then the record holds them, and the file need not be durable."""


def is_digest(text: str) -> bool:
    """Whether the text is a sha256 in lower-case hex, and so safe as a file's name."""
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> str:
    """The digest, if it is one.

    Raises:
        ValueError: it is not 64 lower-case hexadecimal digits.
    """
    if not is_digest(text):
        raise ValueError(f"{text[:80]!r} is no sha256 digest: it must be 64 lower-case hexadecimal digits")
    return text


def check_name(text: str) -> str:
    """A name of a stream, a value, a document or a topic, if both databases can hold it.

    Raises:
        ValueError: it is empty, or holds characters that cannot be printed (PostgreSQL takes no NUL).
    """
    if not text or not text.isprintable():
        raise ValueError(f"{text[:80]!r} is no name for a record: it must be printable text, and not empty")
    return text
