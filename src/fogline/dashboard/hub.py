"""What is shown, and whoever looks at it: each page first gets all as it is, then what changes.

News have keys: newer news of a key take the place of older ones. So a page that reads slowly holds up nobody and is
never behind by more than one message a key, however long it was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec


class BoardNews(msgspec.Struct, frozen=True):
    """Something that a page is told, and shows."""

    key: str
    """What it is about: ``run/NAME``, ``tree/NAME``, ``nodes`` … What stands before the first slash is its kind."""
    data: bytes
    """JSON on one line."""

    @classmethod
    def of(cls, key: str, value: Any) -> BoardNews:
        """News of a value; numbers that are not finite become null."""
        return cls(key, msgspec.json.encode(value))

    def as_event(self) -> bytes:
        """As a server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
        kind, _, name = self.key.partition("/")
        return b"event: %b\ndata: {%b:%b,%b:%b}\n\n" % (
            kind.encode(),
            b'"name"',
            msgspec.json.encode(name),
            b'"data"',
            self.data,
        )


class Hub:
    """Keeps the newest news of each key, and tells all pages that are open."""

    def __init__(self) -> None:
        self._latest: dict[str, BoardNews] = {}
        self._readers: set[Reader] = set()
        self.closed = False

    def tell(self, key: str, value: Any) -> None:
        """Something is so now; where it was so before, nobody is told."""
        news = BoardNews.of(key, value)
        if self._latest.get(key) != news:
            self._latest[key] = news
            self._pass_on(news)

    def has(self, key: str) -> bool:
        """Whether something is known under a key."""
        return key in self._latest

    def forget(self, key: str) -> None:
        """Nothing of the kind is there any more; pages are told so with null."""
        if self._latest.pop(key, None) is not None:
            self._pass_on(BoardNews(key, b"null"))

    def forget_all(self, begin: str) -> None:
        """Nothing is there any more of what has keys that begin so."""
        for key in [key for key in self._latest if key.startswith(begin)]:
            self.forget(key)

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        for reader in self._readers:
            reader.there.set()

    async def events(self) -> AsyncGenerator[bytes]:
        """All that is known, and what changes, as server-sent events, until the hub is closed."""
        reader = Reader(dict(self._latest))
        self._readers.add(reader)
        try:
            while not self.closed:
                waiting, reader.waiting = reader.waiting, {}
                if waiting:
                    yield b"".join(news.as_event() for news in waiting.values())
                else:
                    reader.there.clear()
                    await reader.there.wait()
        finally:
            self._readers.discard(reader)

    def _pass_on(self, news: BoardNews) -> None:
        for reader in self._readers:
            reader.waiting.pop(news.key, None)  # The newest last.
            reader.waiting[news.key] = news
            reader.there.set()


class Reader:
    """A page that is open.

    Args:
        waiting: news that it has still to get, by key.
    """

    def __init__(self, waiting: dict[str, BoardNews]) -> None:
        self.waiting = waiting
        self.there = asyncio.Event()
