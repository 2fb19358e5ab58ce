"""Looks for new releases, and warns when nobody vouches for the old ones any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec

from fogline.registry.trust.names import TIMESTAMP
from fogline.serving.update import turn
from fogline.serving.update.ports import Installer, InstallerError, UntrustedMetadataError, Upstream, VerifiedMetadata
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.serving")
TRUST, KEY = "serving-trust", "last"
ROOT = "root.json"
"""How the names of files with newer keys end."""
PATIENCE = 60.0
"""Seconds that a parent has for a small file."""


class ReleaseTrust(msgspec.Struct, frozen=True):
    """How far the releases are trusted; in the journal."""

    expires: float = 0.0
    """Unix time; 0: nothing was verified yet."""
    alarm: str = ""
    """Kind of the alarm that was given, until all is well again."""


_TRUST = msgspec.json.Decoder(ReleaseTrust)


class ReleaseWatcher:
    """Has metadata verified when there is news.

    Args:
        upstream: where metadata comes from.
        installer: verifies it.
        database: the node's records.
        clock: Unix time.
        found: told of what was verified.
        alarm: told of what people must hear, as a sentence.
    """

    def __init__(
        self,
        upstream: Upstream,
        installer: Installer,
        database: Database,
        clock: Callable[[], float],
        found: Callable[[VerifiedMetadata], None],
        alarm: Callable[[str], None],
    ) -> None:
        self._upstream = upstream
        self._installer = installer
        self._database = database
        self._clock = clock
        self._found = found
        self._alarm = alarm
        body = database.get(TRUST, KEY)
        self._trust = ReleaseTrust() if body is None else _TRUST.decode(body)
        self._news = asyncio.Event()
        self._pushed: bytes = b""
        self._known: bytes = b""
        """The newest timestamp that was verified since the start."""
        self._tries = 0
        self._doubt = False
        """What is kept on the way was not believed."""
        self._overtaken = False
        """The last look failed, and newer keys and news had come while it went on."""

    def fresh(self, timestamp: bytes) -> None:
        """There may be news; ``timestamp``: the parent's newest, empty where it is not known."""
        if not timestamp or timestamp != self._known or self._tries:
            self._pushed = timestamp
            self._news.set()

    async def run(self) -> None:
        """Look for new releases, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._news.wait()
            self._news.clear()
            await self._look()

    def _patience(self) -> float | None:
        """Seconds until it is time to look without news; None: no need to."""
        waits = [turn.UPDATE_AGAIN.after(self._tries)] if self._tries else []
        if self._trust.expires and not self._trust.alarm:
            waits.append(max(0.0, self._trust.expires - self._clock()))
        return min(waits, default=None)

    async def _look(self) -> None:
        timestamp, self._pushed = self._pushed, b""
        offered = believed = False  # Newer keys; by now.

        async def ask(name: str, largest: int) -> bytes | None:
            nonlocal timestamp, offered, believed
            if name != TIMESTAMP:
                data = await self._asked(name, largest)
                offered |= data is not None and name.endswith(ROOT)
                return data
            # It is asked for once the roots are believed. Newer keys may have replaced those of an older timestamp:
            # then the newest counts. Otherwise what was shown first is judged, whatever was shown after it.
            believed = offered
            newest = self._pushed if believed else b""
            timestamp = newest or timestamp or await self._asked(name, largest) or b""
            return timestamp or None

        try:
            checked = await self._installer.verify(ask)
        except ConnectionError as error:
            log.info("releases cannot be looked at: %s", error)
            expired = self._trust.expires and self._clock() >= self._trust.expires
            self._failed("expired" if expired else "", "No news of releases has come before they ran out")
        except UntrustedMetadataError as error:
            if believed and not self._overtaken and self._pushed not in (b"", timestamp):
                # The newest timestamp may fit the newer keys, and is looked at next. Once: nobody puts an alarm off
                # for ever.
                self._overtaken = True
                return
            self._doubt = True
            self._failed(error.kind, str(error))
        except (InstallerError, StorageError) as error:
            self._failed("failed", str(error))
        else:
            self._known, self._tries, self._doubt, self._overtaken = timestamp, 0, False, False
            if self._pushed == timestamp:  # That was looked at just now.
                self._pushed = b""
                self._news.clear()
            self._remember(ReleaseTrust(checked.expires))
            self._found(checked)

    async def _asked(self, name: str, largest: int) -> bytes | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._upstream.metadata(name, largest, self._doubt)
        except TimeoutError:
            raise ConnectionError(f"the parent did not send {name} within {PATIENCE:g} s") from None

    def _failed(self, kind: str, why: str) -> None:
        self._tries += 1
        if kind and kind != self._trust.alarm:
            self._alarm(f"{why.removesuffix('.')}; what is here goes on serving.")
            self._remember(ReleaseTrust(self._trust.expires, kind))

    def _remember(self, trust: ReleaseTrust) -> None:
        self._trust = trust
        try:
            self._database.put(TRUST, KEY, msgspec.json.encode(trust))
        except StorageError as error:  # After a restart an alarm may come twice.
            log.error("how far releases are trusted cannot be kept: %s", error)
