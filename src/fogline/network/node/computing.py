"""Computes what a state machine decided, through the worker process: keys in, values out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fogline.network.node.slots import PrioritySemaphore
from fogline.network.node.values import ValueStore
from fogline.network.worker import requests as ask
from fogline.network.worker.client import LONGEST, WorkerClient, WorkerError, expect
from fogline.nodes import effects
from fogline.nodes.events import Event, Trained
from fogline.nodes.messages import Key
from fogline.storage import BlobRef, StorageError

Values = Mapping[Key, BlobRef]
GROUP = "/group"
"""After a model's key: the aggregator's numbers behind it."""
STATE = "state"
"""Name of the value that holds the method's own vectors of a device."""
STUCK = 300.0
"""Seconds that a training may go on after it was given up: what the worker has loaded is worth the wait."""


@dataclass(slots=True)
class Made:
    """What came out."""

    values: dict[Key, BlobRef] = field(default_factory=dict[Key, BlobRef])
    refused: tuple[tuple[str, str], ...] = ()


class Computation:
    """One job's computing on this node.

    Args:
        value_store: where values lie.
        worker_client: the worker process.
        slots: who may train now, among the jobs of this node.
        priority: of the job.
    """

    def __init__(
        self,
        value_store: ValueStore,
        worker_client: WorkerClient,
        slots: PrioritySemaphore | None = None,
        priority: int = 0,
    ) -> None:
        self.worker_client = worker_client
        self._value_store = value_store
        self._slots = slots or PrioritySemaphore(1)
        self._priority = priority
        self._busy: asyncio.Task[Any] | None = None
        """What the worker trains for."""

    async def adopt(self, effect: effects.Adopt, values: Values) -> Made:
        """The parent's model becomes the group's."""
        base = None if effect.base is None else self._path(values, effect.base + GROUP)
        group, model = self._value_store.draft(), self._value_store.draft()
        source = self._path(values, effect.source)
        answer = await self._ask(ask.Adopt(source, str(group), str(model), base))
        return await self._group(effect.model, group, model, answer)

    async def sift(self, members: tuple[effects.FoldInput, ...], values: Values) -> dict[int, str]:
        """Which updates could not be folded together, by their places, and why."""
        numbered = [msgspec.structs.replace(m, child=str(i)) for i, m in enumerate(members)]
        answer = expect(ask.Sifted, await self.worker_client.ask(ask.Sift(self._members(tuple(numbered), values))))
        return {int(place): why for place, why in answer.refused}

    async def move(self, effect: effects.Move, values: Values, population: int, moves: int) -> Made:
        """The group moves."""
        group, model = self._value_store.draft(), self._value_store.draft()
        request = ask.Move(
            base=self._path(values, effect.base + GROUP),
            members=self._members(effect.members, values),
            inside=effect.inside,
            population=population,
            round=moves,
            group=str(group),
            model=str(model),
            lane=effect.lane,
            lanes=effect.lanes,
        )
        return await self._group(effect.model, group, model, await self._ask(request))

    async def merge(self, effect: effects.Merge, values: Values) -> Made:
        """Children's updates become one."""
        draft = self._value_store.draft()
        answer = await self._ask(ask.Merge(self._members(effect.members, values), str(draft)))
        if answer.empty:
            return Made(refused=answer.refused)
        return Made({effect.update: await self._value_store.take(draft, "update")}, answer.refused)

    async def lift(self, effect: effects.Lift, values: Values) -> Made:
        """The group's movement becomes an update."""
        draft = self._value_store.draft()
        await self._ask(ask.Lift(self._path(values, effect.base + GROUP), str(draft)))
        return Made({effect.update: await self._value_store.take(draft, "update")})

    async def train(self, effect: effects.Train, values: Values, attempt: int) -> tuple[Event, dict[Key, BlobRef]]:
        """Train on this node's data, when it is this job's turn."""
        await self._make_room()
        update, state = self._value_store.draft(), self._value_store.draft()
        before = values.get(STATE)
        try:
            request = ask.Train(
                model=self._path(values, effect.model),
                update=str(update),
                state=str(state),
                round=effect.round,
                attempt=attempt,
                before=None if before is None else self._value_store.path(before),
            )
            async with self._slots.turn(self._priority):
                self._busy = asyncio.current_task()
                answer = expect(ask.Trained, await self.worker_client.ask(request, lambda: _remove(update, state)))
            if answer.failure is None:
                made = {effect.update: await self._value_store.take(update, "update")}
                if answer.state:
                    made[STATE] = await self._value_store.take(state, "state")
                return Trained(effect.task, effect.update, answer.samples, answer.loss_rms), made
        except (WorkerError, StorageError) as error:
            return Trained(effect.task, effect.update, 0, failure=str(error)), {}
        finally:
            if self._busy is asyncio.current_task():
                self._busy = None
        return Trained(effect.task, effect.update, answer.samples, failure=answer.failure[:LONGEST]), {}

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

    async def _ask(self, request: ask.Request) -> ask.Written:
        return expect(ask.Written, await self.worker_client.ask(request))

    async def _group(self, key: Key, group: Path, model: Path, answer: ask.Written) -> Made:
        numbers, sent = await asyncio.gather(
            self._value_store.take(group, "group"), self._value_store.take(model, "model")
        )
        return Made({key + GROUP: numbers, key: sent}, answer.refused)

    def _members(self, members: tuple[effects.FoldInput, ...], values: Values) -> tuple[ask.Member, ...]:
        return tuple(ask.Member(self._value_store.place(values[m.update]), m.child, m.staleness) for m in members)

    def _path(self, values: Values, key: Key) -> str:
        return self._value_store.path(values[key])


def _remove(*drafts: Path) -> None:
    for draft in drafts:
        draft.unlink(missing_ok=True)
