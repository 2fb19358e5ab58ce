"""Computes what a state machine decided, through the worker process: keys in, values out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fogline.compute.effects import (
    PERSONAL,
    SENDER,
    STATE,
    AggregatorEffect,
    CarriedOut,
    CarryOut,
    Computed,
    DeviceEffect,
    Sift,
    StepEffect,
    makes,
    members_of,
    needed,
    refusals,
)
from fogline.network.node.participation.exchanging import JobIdentity
from fogline.network.node.slots import PrioritySemaphore
from fogline.network.node.values import ValueStore
from fogline.network.worker.client import LONGEST, WorkerClient, WorkerError, expect
from fogline.network.worker.requests import CutModel, ModelWritten
from fogline.nodes.effects import Adopt, ChildStep, Combine, Examine, FoldInput, Merge, Move, ParentStep, Train
from fogline.nodes.events import Event, StepComputed, Trained
from fogline.nodes.messages import Key
from fogline.storage import BlobRef, StorageError

Values = Mapping[Key, BlobRef]
STUCK = 300.0
"""Seconds that a training may go on after it was given up: what the worker has loaded is worth the wait."""


@dataclass(slots=True)
class Made:
    """What a computation made: values by key, and the updates that it refused."""

    values: dict[Key, BlobRef] = field(default_factory=dict[Key, BlobRef])
    refused: tuple[tuple[str, str], ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    """Children, and how much the tier's rule has used of their updates."""


class Computation:
    """One job's computing on this node.

    Args:
        value_store: where values lie.
        worker_client: the worker process.
        slots: who may train now, among the jobs of this node.
        priority: of the job.
        sums: whether it is of what is asked beside the training: children bring sums, and not updates of the model.
        identity: who this node is in the job's exchanges.
        personal: takes the file of what this device has of its own of a model that it has judged, where that is wanted.
    """

    def __init__(
        self,
        value_store: ValueStore,
        worker_client: WorkerClient,
        slots: PrioritySemaphore | None = None,
        priority: int = 0,
        sums: bool = False,
        identity: JobIdentity | None = None,
        personal: Callable[[Path], Awaitable[None]] | None = None,
    ) -> None:
        self.worker_client = worker_client
        self._personal = personal
        self._value_store = value_store
        self._slots = slots or PrioritySemaphore(1)
        self._priority = priority
        self._sums = sums
        self._identity = identity
        self._busy: asyncio.Task[Any] | None = None
        """What the worker trains for."""

    async def carry_out(self, effect: AggregatorEffect, values: Values, earlier: int = 0, population: int = 0) -> Made:
        """Compute what an aggregator decided.

        Args:
            effect: what it decided.
            values: of the job.
            earlier: moves of the group before.
            population: devices below this node.
        """
        drafts, members = self._drafts(effect), members_of(effect)
        reads = {key: self._value_store.path(values[key]) for key in needed(effect)} | self._updates(members, values)
        if isinstance(effect, Adopt | Move) and effect.base is not None and effect.base in values:
            reads[effect.base] = self._value_store.path(values[effect.base])
        if SENDER in values:
            reads[SENDER] = self._value_store.path(values[SENDER])
        asked = CarryOut(effect, reads, _paths(drafts), earlier, population, sums=self._sums)
        answer = expect(CarriedOut, await self.worker_client.ask(asked))
        why = refusals(answer, members)
        scores = dict(answer.scores)  # Foreign code says it: a child is judged once, and nobody who was not asked.
        return Made(
            await self._take(effect, drafts, answer),
            tuple((members[place].child, why[place]) for place in why),
            tuple((member.child, scores[place]) for place, member in enumerate(members) if place in scores),
        )

    async def sift(
        self, members: tuple[FoldInput, ...], values: Values, combine: Combine | None = None
    ) -> dict[int, str]:
        """Which updates could not be folded together, or not be combined, by their places, and why."""
        reads = self._updates(members, values)
        if combine is not None:
            reads |= {key: self._value_store.path(values[key]) for key in needed(combine)}
        asked = Sift(members, reads, self._sums, combine)
        return refusals(expect(CarriedOut, await self.worker_client.ask(asked)), members)

    async def cut(self, model: BlobRef, ranges: str) -> BlobRef:
        """The part of a model that a child with a smaller one gets.

        Raises:
            WorkerError: there is no such part of it.
        """
        draft = self._value_store.draft()
        asked = CutModel(self._value_store.path(model), str(draft), ranges)
        expect(ModelWritten, await self.worker_client.ask(asked))
        return await self._value_store.take(draft, model.kind)

    async def step(self, effect: StepEffect, values: Values) -> tuple[StepComputed, dict[Key, BlobRef]]:
        """Take a half of a step of an exchange.

        Raises:
            WorkerError: the parent's half could not be carried out, and the machine must be made anew from its journal.
        """
        upward = isinstance(effect, ChildStep)
        first = effect.task if upward else effect.first
        if upward and effect.state not in values:
            why = "nothing of what this node has could be folded"
            return StepComputed(first, effect.number, failure=why, upward=True), {}
        drafts = self._drafts(effect)
        reads = {key: self._value_store.path(values[key]) for key in needed(effect)}
        if isinstance(effect, ParentStep):
            reads |= {key: self._value_store.place(values[key]) for _, key in effect.payloads}
        identity = None
        if upward and effect.number == 0 and self._identity is not None:
            identity = await asyncio.to_thread(self._identity.now)
        asked = CarryOut(effect, reads, _paths(drafts), identity=identity, sums=self._sums)
        try:
            answer = expect(CarriedOut, await self.worker_client.ask(asked))
        except WorkerError as error:
            if isinstance(effect, ParentStep):
                raise
            return StepComputed(first, effect.number, failure=str(error), upward=upward), {}
        if answer.failure is not None:
            _remove(*drafts.values())
            return StepComputed(first, effect.number, failure=answer.failure[:LONGEST], upward=upward), {}
        made = await self._take(effect, drafts, answer)
        replies = tuple(key for key, value in made.items() if value.kind == "reply")
        return StepComputed(first, effect.number, replies, upward=upward), made

    async def train(self, effect: DeviceEffect, values: Values, attempt: int) -> tuple[Event, dict[Key, BlobRef]]:
        """Train on this node's data, or look at it, when it is this job's turn."""
        await self._make_room()
        drafts = self._drafts(effect)
        if isinstance(effect, Examine) and self._personal is not None:
            drafts[PERSONAL] = self._value_store.draft()
        try:
            reads = {key: self._value_store.path(values[key]) for key in (effect.model, STATE, SENDER) if key in values}
            asked = CarryOut(effect, reads, _paths(drafts), attempt)
            async with self._slots.turn(self._priority):
                self._busy = asyncio.current_task()
                answer = expect(CarriedOut, await self.worker_client.ask(asked, lambda: _remove(*drafts.values())))
            ended = _ended(effect, answer)
            if self._personal is not None and PERSONAL in answer.made:
                await self._personal(drafts[PERSONAL])
            return ended, {} if ended.failure is not None else await self._take(effect, drafts, answer)
        except (WorkerError, StorageError) as error:
            return Trained(effect.task, effect.update, 0, failure=str(error)), {}
        finally:
            if self._busy is asyncio.current_task():
                self._busy = None

    def give_up(self, work: asyncio.Task[None]) -> None:
        """A training is not wanted any more. One that the worker is at goes on to its end; one that has not begun,
        because it is the turn of another job, does not begin."""
        if work is not self._busy:
            work.cancel()

    def close(self) -> None:
        """Wait for no training any more."""
        if self._busy is not None:
            self._busy.cancel()

    async def _make_room(self) -> None:
        """Wait until the worker is done with a training that was given up, and end one that hangs."""
        while (busy := self._busy) is not None:
            _, pending = await asyncio.wait((busy,), timeout=STUCK)
            if pending:
                await self.worker_client.end(f"it was still at a training {STUCK:g} s after that was given up")

    def drop(self, values: Values) -> None:
        """Values that came out, and that nobody needs."""
        for value in values.values():
            self._value_store.keep(value)
        self._value_store.release(values.values())

    def _drafts(self, effect: Computed) -> dict[Key, Path]:
        return {key: self._value_store.draft() for key in makes(effect)}

    async def _take(self, effect: Computed, drafts: Mapping[Key, Path], answer: CarriedOut) -> dict[Key, BlobRef]:
        """What was written of that which the effect may make, in the store."""
        # A merge may find nothing to fold, a training may fail, and not every child gets a reply. What else is missing
        # is missed in the store.
        less = isinstance(effect, Merge | Train | Examine | Combine | ParentStep)
        kinds = {
            key: kind
            for key, kind in makes(effect).items()
            if key in answer.made or not (less or key == SENDER or kind == "difference")
        }
        taken = await asyncio.gather(*(self._value_store.take(drafts[key], kind) for key, kind in kinds.items()))
        return dict(zip(kinds, taken, strict=True))

    def _updates(self, members: tuple[FoldInput, ...], values: Values) -> dict[Key, str]:
        known, gone = {m.update: values[m.update] for m in members if m.update in values}, self._value_store.draft()
        # What an exchange came to may be nothing: then there is nothing to read.
        return {m.update: self._value_store.place(known[m.update]) if m.update in known else str(gone) for m in members}


def _ended(effect: DeviceEffect, answer: CarriedOut) -> Trained:
    """How a training ended: what foreign code says of it, and nothing of another one."""
    said = answer.trained
    if said is None or (said.failure is None and effect.update not in answer.made):
        return Trained(effect.task, effect.update, 0, failure="the worker tells neither an update nor a failure")
    if said.failure is not None:
        return Trained(effect.task, effect.update, said.samples, failure=said.failure[:LONGEST])
    return Trained(effect.task, effect.update, said.samples, said.loss_rms)


def _paths(drafts: Mapping[Key, Path]) -> dict[Key, str]:
    return {key: str(draft) for key, draft in drafts.items()}


def _remove(*drafts: Path) -> None:
    for draft in drafts:
        draft.unlink(missing_ok=True)
