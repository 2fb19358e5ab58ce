"""What a node makes of releases whose keys are replaced while it looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from fogline.registry.trust.names import TIMESTAMP
from fogline.serving.update.ports import Installer, UntrustedMetadataError, Upstream, VerifiedMetadata
from fogline.serving.update.watcher import ReleaseWatcher
from fogline.storage import open_database

Ask = Callable[[str, int], Awaitable[bytes | None]]
LATER = 1e12


class Parent:
    """Shows the newest root and timestamp, which are signed with the same keys, and has them verified."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.looks = 1, 0
        self.alarms: list[str] = []
        self.found: list[int] = []
        self.database = open_database(folder / "records.sqlite")
        self.watcher = ReleaseWatcher(
            cast("Upstream", self), cast("Installer", self), self.database, lambda: 0.0, self._found, self.alarms.append
        )

    def _found(self, verified: VerifiedMetadata) -> None:
        self.found.append(verified.epoch)

    def tell(self) -> None:
        self.watcher.fresh(b"%d" % self.keys)

    def before_root(self) -> None: ...

    def before_timestamp(self) -> None: ...

    def after_timestamp(self) -> None: ...

    async def metadata(self, name: str, largest: int, anew: bool) -> bytes | None:
        return b"%d" % self.keys

    async def verify(self, ask: Ask) -> VerifiedMetadata:
        self.looks += 1
        self.before_root()
        root = int(await ask("root.json", 9) or b"0")
        self.before_timestamp()
        timestamp = int(await ask(TIMESTAMP, 9) or b"0")
        self.after_timestamp()
        if root != timestamp:
            raise UntrustedMetadataError("tampered", "The timestamp was signed by 0/1 keys")
        return VerifiedMetadata((), {}, LATER, root)

    def run(self) -> None:
        """Look until nothing is left to be looked at."""

        async def work() -> None:
            self.tell()
            looking = asyncio.create_task(self.watcher.run())
            before = -1
            while self.looks != before:
                before = self.looks
                for _ in range(20):
                    await asyncio.sleep(0)
            looking.cancel()

        asyncio.run(work())
        self.database.close()


def test_news_that_comes_while_the_roots_are_read_is_what_is_verified(tmp_path: Path) -> None:
    class Rotating(Parent):
        def before_root(self) -> None:
            if self.keys == 1:
                self.keys = 2

        def before_timestamp(self) -> None:
            self.tell()

    parent = Rotating(tmp_path)
    parent.run()
    assert (parent.looks, parent.found, parent.alarms) == (1, [2], [])


def test_keys_that_are_replaced_during_a_look_are_no_alarm(tmp_path: Path) -> None:
    class Rotating(Parent):
        def before_root(self) -> None:
            if self.keys == 1:
                self.keys = 2

        def after_timestamp(self) -> None:
            if not self.found:
                self.tell()

    parent = Rotating(tmp_path)
    parent.run()
    assert (parent.looks, parent.found, parent.alarms) == (2, [2], [])


def test_a_liar_puts_the_alarm_off_once_only(tmp_path: Path) -> None:
    class Liar(Parent):
        def before_root(self) -> None:
            self.keys += 1

        def after_timestamp(self) -> None:
            if self.looks < 5:
                self.tell()

    parent = Liar(tmp_path)
    parent.run()
    assert parent.found == []
    assert len(parent.alarms) == 1


def test_what_is_wrong_without_news_is_an_alarm_at_once(tmp_path: Path) -> None:
    class Liar(Parent):
        def before_root(self) -> None:
            self.keys += 1

    parent = Liar(tmp_path)
    parent.run()
    assert (parent.looks, parent.found) == (1, [])
    assert len(parent.alarms) == 1


def test_an_older_timestamp_without_newer_keys_is_an_alarm_whatever_is_shown_after_it(tmp_path: Path) -> None:
    class Liar(Parent):
        """Shows an old timestamp, and a good one while the node looks at it."""

        newest = 1

        def tell(self) -> None:
            self.watcher.fresh(b"%d" % self.newest)

        def before_timestamp(self) -> None:
            if self.looks == 1:
                self.newest = 2
                self.tell()

        async def metadata(self, name: str, largest: int, anew: bool) -> bytes | None:
            return None

        async def verify(self, ask: Ask) -> VerifiedMetadata:
            self.looks += 1
            await ask("2.root.json", 9)
            self.before_timestamp()
            timestamp = int(await ask(TIMESTAMP, 9) or b"0")
            if timestamp < 2:
                raise UntrustedMetadataError("older", "The releases offered are older than what was seen here before")
            return VerifiedMetadata((), {}, LATER, timestamp)

    parent = Liar(tmp_path)
    parent.run()
    assert (parent.looks, parent.found) == (2, [2])
    assert len(parent.alarms) == 1
