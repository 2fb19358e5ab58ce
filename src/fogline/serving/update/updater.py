"""How versions get onto a node and off it again: the agent's part, which moves bytes and keeps a journal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.policy.terms import Channel
from fogline.inference.personal_parts import PersonalParts
from fogline.network.node.mirror import ServedFiles
from fogline.registry.release import NodeKind, Outcome, Vitals
from fogline.serving.slots import VersionSlot
from fogline.serving.update.driver import RECORDS, STATES, DriverContext, ModelUpdateDriver
from fogline.serving.update.events import Announced, Broken, Crashed, Event, PersonalPartKept, Pulse, Revert, Stopped
from fogline.serving.update.files import FileFetcher, served
from fogline.serving.update.machine import UpdateMachine
from fogline.serving.update.personal import PersonalVersions
from fogline.serving.update.ports import Installer, PredictionServer, Serving, Upstream, VerifiedMetadata
from fogline.serving.update.state import STATES as DECODER
from fogline.serving.update.state import ModelOnNode
from fogline.serving.update.watcher import ReleaseWatcher
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.serving")


class Updater:
    """All models of a node.

    First :meth:`recover`, which needs neither network nor server; then the server may be started with what
    :meth:`serving` says; then :meth:`run`. After the server ended by itself: :meth:`crashed`, then :meth:`serving`.

    Args:
        name: of the node.
        tier: of the node.
        channel: ``rounds``: every release; ``stable``: only versions that people approved.
        database: the node's records.
        folder: for files that are being made.
        store: the node's blobs.
        parts: what this device has of its own of models.
        upstream: towards the parent.
        server: answers predictions.
        installer: does what is heavy.
        clock: Unix time.
        variants: whether the node wants variants in fewer bits too.
    """

    def __init__(
        self,
        name: str,
        tier: NodeKind,
        channel: Channel,
        database: Database,
        folder: Path,
        store: ServedFiles,
        parts: PersonalParts,
        upstream: Upstream,
        server: PredictionServer,
        installer: Installer,
        clock: Callable[[], float] = time.time,
        variants: bool = False,
    ) -> None:
        self._name = name
        self._tier: NodeKind = tier
        self._channel: Channel = channel
        self._upstream = upstream
        self._context = DriverContext(
            node=name,
            machine=UpdateMachine(name, tier),
            database=database,
            files=FileFetcher(upstream, store, installer, folder / "drafts", variants),
            personal=PersonalVersions(folder / "personal", parts, installer),
            server=server,
            installer=installer,
            tell=upstream.outcome,
            clock=clock,
            needed=self.needed,
        )
        self._drivers: dict[str, ModelUpdateDriver] = {}
        self._watcher = ReleaseWatcher(upstream, installer, database, clock, self._found, self._warn)
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None

    # Life.

    def recover(self) -> None:
        """Become what the journal says. It must be called where an event loop runs.

        Raises:
            StorageError: the journal cannot be read.
        """
        for model, body in self._context.database.all(STATES):
            try:
                state = DECODER.decode(body)
            except UNREADABLE as error:
                raise StorageError(
                    f"The journal of model {model} cannot be read ({error}); was it written by a newer Fogline?"
                ) from error
            self._drivers[model] = ModelUpdateDriver(state, self._context)
        for driver in self._drivers.values():
            driver.recover()

    async def run(self) -> None:
        """Follow releases until :meth:`close`, or until cancelled."""
        self._task = asyncio.current_task()
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._watcher.run())
            for driver in self._drivers.values():
                group.create_task(driver.run())

    async def close(self) -> None:
        """Stop in good order; the journal keeps what was."""
        self._handle_all(Stopped())
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    # What happens.

    def fresh(self, timestamp: bytes) -> None:
        """The parent has a new timestamp; or it is back, and its timestamp is not known (empty)."""
        for driver in self._drivers.values():
            driver.repeat()
        self._watcher.fresh(timestamp)

    def pulse(self, vitals: Vitals) -> None:
        """How a version that the server has loaded fared since the last pulse."""
        driver = self._drivers.get(vitals.model)
        if driver is not None:
            driver.handle(Pulse(vitals.version, vitals.tally))

    def crashed(self, why: str) -> None:
        """The server ended by itself. What :meth:`serving` says may be another version afterwards."""
        self._handle_all(Crashed(why))

    def broken(self, model: str, version: int, why: str) -> None:
        """The server was started again and cannot load a version that :meth:`serving` named. Where there is one before
        it, that is loaded once the server is up; files that turn out to be damaged are fetched anew."""
        driver = self._drivers.get(model)
        if driver is not None:
            driver.handle(Broken(version, why))

    def personal(self, model: str) -> None:
        """This device has a newer part of its own of a model."""
        driver = self._drivers.get(model)
        if driver is not None:
            driver.handle(PersonalPartKept())

    def revert(self, model: str, why: str) -> None:
        """An operator sends the node back to the version before; newer releases than those known are followed again.

        Raises:
            LookupError: there is none.
        """
        driver = self._drivers.get(model)
        if driver is None or driver.state.previous is None:
            raise LookupError(f"There is no earlier version of model {model[:80]} on {self._name} to go back to.")
        driver.handle(Revert(why))

    # What is.

    def serving(self) -> tuple[Serving, ...]:
        """What the server should have loaded.

        Raises:
            StorageError: files that were there at the start are gone.
        """
        context, serving = self._context, list[Serving]()
        slots: tuple[VersionSlot, ...] = ("live", "shadow")
        for driver in self._drivers.values():
            state = driver.state
            for held, slot in zip((state.current, state.shadow), slots, strict=True):
                if held is not None:
                    card, paths, origin = served(context.files, context.personal, held)
                    serving.append(Serving(state.model, held.version, card, paths, slot, origin))
        return tuple(serving)

    def states(self) -> dict[str, ModelOnNode]:
        """What is known of every model, for people and tests."""
        return {model: driver.state for model, driver in self._drivers.items()}

    def needed(self) -> frozenset[str]:
        """Blobs that must stay in the store."""
        return frozenset(digest for driver in self._drivers.values() for digest in driver.state.needed)

    # Inside.

    def _handle_all(self, event: Event) -> None:
        for driver in self._drivers.values():
            driver.handle(event)

    def _found(self, checked: VerifiedMetadata) -> None:
        for release in checked.releases:
            driver = self._drivers.get(release.model)
            if driver is None:
                if self._tier not in release.tiers:
                    continue
                driver = self._drivers[release.model] = ModelUpdateDriver(ModelOnNode(release.model), self._context)
                assert self._group is not None
                self._group.create_task(driver.run())
            allowed = None if self._channel == "rounds" else checked.approved.get(release.model, frozenset())
            driver.handle(Announced(release, allowed, checked.epoch))

    def _warn(self, why: str) -> None:
        """Something that concerns all models."""
        log.warning("%s", why)
        for driver in self._drivers.values():
            held = driver.state.current
            number, version = (0, 0) if held is None else (held.number, held.version)
            outcome = Outcome(self._name, driver.model, number, version, "alarm", why, self._context.clock())
            try:
                self._context.database.note(RECORDS, msgspec.json.encode(outcome))
            except StorageError as error:
                log.error("an alarm cannot be kept: %s", error)
            self._upstream.outcome(outcome)
