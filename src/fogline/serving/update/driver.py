"""One model on one node: keeps its journal, and carries out what its state machine decides."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from fogline.inference.card import Card, CardError, read_card
from fogline.registry.release import Outcome
from fogline.serving.slots import VersionSlot
from fogline.serving.update.effects import (
    Abandon,
    Drop,
    Effect,
    FetchCard,
    FetchFiles,
    Load,
    Recombine,
    Restore,
    SetRetryTimer,
    Swap,
    Try,
)
from fogline.serving.update.events import (
    CardRead,
    Delayed,
    Event,
    FilesReady,
    LastGoodRestored,
    Loaded,
    NotRestored,
    Passed,
    PersonalPartKept,
    Pulse,
    Recombined,
    RetryDue,
    ServingFailed,
    Swapped,
    Timer,
    UpdaterStarted,
)
from fogline.serving.update.files import FileFetcher, served
from fogline.serving.update.machine import UpdateMachine
from fogline.serving.update.personal import PersonalVersions
from fogline.serving.update.ports import (
    DamagedFileError,
    Installer,
    InstallerError,
    PredictionServer,
    ServerError,
    UnfitModelError,
)
from fogline.serving.update.state import HeldVersion, ModelNews, ModelOnNode, encode
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.serving")
STATES, RECORDS = "serving", "serving"
"""Kind of the documents, by model, and topic of the records."""
SERVED = ("probation", "committed", "shadowing")
"""What of a version is told with the part of it that is this device's own."""
JOURNAL_AGAIN = 5.0
"""Seconds before the journal is tried again."""
LOADING = 120.0
"""Seconds that the server may take to load a version."""
PULSE = 60.0
"""Seconds between two entries that only hold counts."""


@dataclass(frozen=True)
class DriverContext:
    """What the drivers of all models on a node share."""

    node: str
    machine: UpdateMachine
    database: Database
    files: FileFetcher
    personal: PersonalVersions
    server: PredictionServer
    installer: Installer
    tell: Callable[[Outcome], None]
    clock: Callable[[], float]
    needed: Callable[[], frozenset[str]]
    """Blobs that any model of the node needs."""


class ModelUpdateDriver:
    """Drives the state machine of one model.

    The state is written before its effects are carried out, one after the other; only downloads and trials go on
    beside. Where the journal cannot be written, nothing happens until it can.

    Args:
        state: as the journal has it.
        context: the rest.
    """

    def __init__(self, state: ModelOnNode, context: DriverContext) -> None:
        self.state = state
        self._context = context
        self._backlog: deque[Event] = deque()
        self._effects: asyncio.Queue[Effect | None] = asyncio.Queue()
        """None: tell what is to be told."""
        self._timers: dict[Timer | None, asyncio.TimerHandle] = {}
        self._work: asyncio.Task[None] | None = None
        self._saved = 0.0
        self._complained = False
        self._context.server.expect(state.model, state.serves)

    @property
    def model(self) -> str:
        """Name of the model that it keeps up to date."""
        return self.state.model

    def recover(self) -> None:
        """Go on where the journal ends; effects wait for :meth:`run`."""
        state = self.state
        for one in (state.current, state.previous, state.shadow, state.attempt):
            if one is not None:
                self._context.files.check_card(one.card)
        context, needed = self._context, self.state.needed
        damaged = {digest for digest in needed if not context.personal.is_whole(digest)}
        self.handle(UpdaterStarted(context.files.missing(needed) | damaged))
        if self.state.news or self.state.trash:
            self._effects.put_nowait(None)
        self._look_for_parts()

    def handle(self, event: Event) -> None:
        """Something happened; the state is another one when this returns, unless the journal cannot be written."""
        self._backlog.append(event)
        if len(self._backlog) == 1:
            self._catch_up()

    def repeat(self) -> None:
        """Tell the cloud once more what it may not have heard, and try at once what could not be had."""
        for news in self.state.said:
            self._context.tell(self._outcome(news))
        self.handle(RetryDue("retry"))

    async def run(self) -> None:
        """Carry out what the state machine decides, until cancelled."""
        try:
            while True:
                effect = await self._effects.get()
                if effect is None:
                    self._settle()
                else:
                    await self._carry_out(effect)
        finally:
            for timer in self._timers.values():
                timer.cancel()
            await self._end_work()

    # The journal.

    def _catch_up(self) -> None:
        while self._backlog:
            try:
                self._step(self._backlog[0])
            except StorageError as error:
                self._complain(error)
                self._later(None, JOURNAL_AGAIN, self._catch_up)
                return
            self._backlog.popleft()
            self._complained = False

    def _step(self, event: Event) -> None:
        now = asyncio.get_running_loop().time()
        state, effects = self._context.machine.handle(self.state, event, now)
        if not isinstance(event, Pulse) or effects or now - self._saved > PULSE:
            self._save(state)
        if state.serves != self.state.serves:
            self._context.server.expect(state.model, state.serves)
        self.state = state
        for effect in effects:
            if isinstance(effect, SetRetryTimer):
                self._later(effect.timer, effect.at - now, self.handle, RetryDue(effect.timer))
            else:
                self._effects.put_nowait(effect)
        if state.news or state.trash:
            self._effects.put_nowait(None)

    def _save(self, state: ModelOnNode) -> None:
        if state != self.state:
            self._context.database.put(STATES, state.model, encode(state))
            self._saved = asyncio.get_running_loop().time()

    def _complain(self, error: StorageError) -> None:
        """Once, not at every try."""
        if not self._complained:
            log.error("updates of %s wait: %s", self.model, error)
        self._complained = True

    def _settle(self) -> None:
        """Tell what is to be told, and delete what nobody needs. After a crash it may be done twice."""
        state, context = self.state, self._context
        # Also where the clock was set back: the cloud takes what is older for what came late.
        now = max((context.clock(), *(news.at for news in state.said)))
        told = tuple(replace(news, at=now) for news in state.news)
        try:
            for news in told:
                context.database.note(RECORDS, msgspec.json.encode(self._outcome(news)))
            for digest in set(state.trash) - context.needed():
                context.files.delete(digest)
                context.personal.delete(digest)
            settled = replace(state, news=(), trash=(), said=told or state.said)
            self._save(settled)
        except StorageError as error:
            self._complain(error)
            asyncio.get_running_loop().call_later(JOURNAL_AGAIN, self._effects.put_nowait, None)
            return
        self.state = settled
        before = {(news.version, news.what, news.why) for news in state.said}
        for news in told:
            context.tell(self._outcome(news))
            if (news.version, news.what, news.why) in before:
                continue  # A newer release of the same version.
            why = self._outcome(news).why
            why = f": {why}" if why else ""
            log.info("%s version %d: %s%s", self.model, news.version, news.what, why)

    def _outcome(self, news: ModelNews) -> Outcome:
        why = news.why or (self._origin(news.version) if news.what in SERVED else "")
        return Outcome(self._context.node, self.model, news.number, news.version, news.what, why, news.at)

    def _origin(self, version: int) -> str:
        """What of a version is this device's own, for people; empty: nothing."""
        held = next((one for one in (self.state.current, self.state.shadow) if one and one.version == version), None)
        if held is None:
            return ""
        try:
            origin = served(self._context.files, self._context.personal, held)[2]
        except StorageError:
            return ""  # Whoever serves it says so.
        return "" if origin is None else f"with the personal part of {origin}"

    def _later(self, timer: Timer | None, seconds: float, call: Callable[..., None], *args: Any) -> None:
        before = self._timers.pop(timer, None)
        if before is not None:
            before.cancel()
        self._timers[timer] = asyncio.get_running_loop().call_later(max(0.0, seconds), call, *args)

    # Effects.

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case FetchCard():
                await self._begin(effect.attempt, partial(self._fetch_card, effect))
            case FetchFiles():
                await self._begin(effect.attempt, partial(self._fetch_files, effect))
            case Try():
                await self._begin(effect.attempt, partial(self._try, effect))
            case Load(attempt=attempt, held=held, slot=slot):
                why = await self._of_server(self._load(held, slot))
                self.handle(Loaded(attempt) if why is None else ServingFailed(attempt, why))
            case Swap(attempt=attempt, held=held):
                why = await self._of_server(self._context.server.swap(self.model, held.version))
                self.handle(Swapped(attempt) if why is None else ServingFailed(attempt, why))
                self._look_for_parts()  # One may have come since the version was made this device's own.
            case Restore(held=held) if self.state.current is not None and held.card == self.state.current.card:
                why, card = await self._of_server(self._load(held, "live")), held.card.digest
                self.handle(LastGoodRestored(card) if why is None else NotRestored(card, why))
            case Recombine(held=held) if self.state.current is not None and held.card == self.state.current.card:
                self.handle(Recombined(held.card.digest, await self._recombine(held)))
            case Drop(version=version):
                why = await self._of_server(self._context.server.drop(self.model, version))
                if why is not None:
                    log.info("version %d of %s is not dropped: %s", version, self.model, why)
            case Abandon():
                await self._end_work()
            case SetRetryTimer() | Restore() | Recombine():
                pass  # It was set at once; it is not wanted any more.

    async def _of_server(self, work: Coroutine[Any, Any, None]) -> str | None:
        """Why the server did not do it; None if it did."""
        try:
            async with asyncio.timeout(LOADING):
                await work
        except (ServerError, StorageError) as error:
            return str(error)
        except TimeoutError:
            return f"the server did not answer within {LOADING:g} s"
        return None

    async def _load(self, held: HeldVersion, slot: VersionSlot) -> None:
        card, paths, origin = served(self._context.files, self._context.personal, held)
        await self._context.server.load(card, paths, slot, origin)

    def _look_for_parts(self) -> None:
        """See that what answers has the newest part that this device has of its own."""
        current = self.state.current
        if current is not None and self._context.personal.is_behind(read_card(self._context.files.card(current.card))):
            self.handle(PersonalPartKept())

    async def _recombine(self, held: HeldVersion) -> str:
        """Have the server answer with the newest part that this device has of its own; why not, if it cannot."""
        card = read_card(self._context.files.card(held.card))
        try:
            await self._combine(card, held)
            why = await self._of_server(self._load(held, "live"))
        except (LookupError, UnfitModelError, InstallerError, StorageError) as error:
            why = str(error)
        if why is None:
            return ""
        before = self._origin(held.version) or "as all that have it"
        return f"what this device has of its own cannot be used, and version {held.version} answers {before}: {why}"

    async def _combine(self, card: Card, held: HeldVersion) -> None:
        if card.weights is not None:
            await self._context.personal.make(card, self._context.files.paths(held)[card.weights.digest])

    async def _begin(self, attempt: int, work: Callable[[], Coroutine[Any, Any, Event]]) -> None:
        await self._end_work()
        self._work = asyncio.create_task(self._see_through(attempt, work))

    async def _end_work(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.wait((work,))

    async def _see_through(self, attempt: int, work: Callable[[], Coroutine[Any, Any, Event]]) -> None:
        """A download or a trial, and what came of it."""
        try:
            event = await work()
        except (CardError, UnfitModelError) as error:
            event = ServingFailed(attempt, str(error))
        except ConnectionError as error:
            event = Delayed(attempt, "away", str(error))
        except LookupError as error:
            event = Delayed(attempt, "absent", str(error))
        except StorageError as error:
            event = Delayed(attempt, "storage", str(error))
        except InstallerError as error:
            event = Delayed(attempt, "installer", str(error))
        self.handle(event)

    async def _fetch_card(self, effect: FetchCard) -> Event:
        files, asset = self._context.files, effect.card
        card = await files.fetch_card(asset)
        if card.model != self.model:
            return ServingFailed(effect.attempt, f"its card is of model '{card.model}'")
        held = HeldVersion(asset, card.version, effect.number, files.needs(card))
        return CardRead(effect.attempt, held, tuple(delta.asset.digest for delta in card.deltas))

    async def _fetch_files(self, effect: FetchFiles) -> Event:
        await self._context.files.gather(await self._context.files.fetch_card(effect.held.card))
        return FilesReady(effect.attempt)

    async def _try(self, effect: Try) -> Event:
        files, held = self._context.files, effect.held
        try:
            runtime = await self._context.installer.trial(files.card(held.card), files.all_paths(held))
        except DamagedFileError as error:
            for digest in error.digests:
                files.delete(digest)
            return Delayed(effect.attempt, "storage", str(error))
        await self._combine(read_card(files.card(held.card)), held)
        return Passed(effect.attempt, runtime)
