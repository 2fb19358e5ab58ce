"""Runs one state machine on a real clock: events in, effects carried out, every record durable before it is acted on.

A batch of events is handled at once; then what they compute is computed, one transaction takes all records and the
values that they name, and only then are messages sent. If any of that fails, the machine is thrown away: its state is
ahead of the journal. The node makes a new one from the journal, as after a crash.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, cast

from fogline import logs
from fogline.compute.effects import GROUP
from fogline.monitoring.tracing.tracer import NO_TRACER, Tracer
from fogline.network.node.clock import JobClock
from fogline.network.node.participation.computing import Computation
from fogline.network.node.participation.replay import ENCODE, ModelMoved, Under, replay
from fogline.network.node.participation.sieve import Sieve
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import Blob, Difference, NodeMessage
from fogline.network.worker.client import WorkerError
from fogline.nodes.effects import (
    AddUp,
    Adopt,
    ChildStep,
    Combine,
    Count,
    Effect,
    Examine,
    Finished,
    Forget,
    GroupUpdate,
    Merge,
    Move,
    ParentStep,
    Send,
    SetTimer,
    Train,
    Write,
)
from fogline.nodes.events import Event, Joined, Received, Scored, TimerFired, Trained, UpdatesChecked
from fogline.nodes.ledger import in_order
from fogline.nodes.messages import Key, Message, Report, Step, Work, update_key
from fogline.nodes.records import Assigned, Closed, Posted, Record
from fogline.nodes.versions import DIFFERENCE, chain, useful
from fogline.storage import BlobRef, Database, StorageError

if TYPE_CHECKING:
    from fogline.nodes.aggregator import Aggregator
    from fogline.nodes.device import Device  # Not imported here: a device needs no aggregator, and has little memory.


PART = "/part/"
"""Between the key of a model and which part of it a value is."""
FROM_ABOVE = ("model", "reply")
"""Kinds of values that come from the parent, and are its own to forget."""
CHILDREN_HAVE = (*FROM_ABOVE, "difference")
"""Kinds of values that go down the tree."""


class Links(Protocol):
    """What a driver needs of its node: a wall, so that one can be tested alone."""

    def send(self, to: str, said: NodeMessage) -> None:
        """To the parent or a child; dropped where there is no connection."""
        ...

    def tell(self, count: Count) -> None:
        """Something for the job's report."""
        ...

    async def allow(self, effect: Train | Examine, attempt: int) -> str | None:
        """Why this is not to be done with the data here; None if it may: then what it gives away is written down."""
        ...

    async def need(self, value: BlobRef) -> None:
        """See that a value's bytes are here.

        Raises:
            LookupError: the parent does not have it any more.
            StorageError: it cannot be kept here.
        """
        ...


OnMove = Callable[[ModelMoved, BlobRef | None], None]
"""Told of a move that is durable, and of the group's model after it; None where a newer one has taken its place."""


class Driver:
    """One job's state machine on this node.

    Args:
        job: the job's id, and the name of its journal.
        machine: the state machine, new.
        database: where its records go.
        value_store: where its values go.
        computation: what computes.
        links: the rest of the node.
        parent: whose work it does; empty at the root.
        sieve: what an aggregator's machine asks of the updates that wait.
        on_move: told of every move of this node's group; after a crash again of all.
    """

    def __init__(
        self,
        job: str,
        machine: Aggregator | Device,
        database: Database,
        value_store: ValueStore,
        computation: Computation,
        links: Links,
        parent: str = "",
        sieve: Sieve | None = None,
        on_move: OnMove | None = None,
    ) -> None:
        self.job = job
        self.machine = machine
        self.values: dict[Key, BlobRef] = {}
        self.attempts = 0
        """Trainings begun, ever: seeds the next."""
        self.moves = 0
        """Moves of the group, ever."""
        self.fresh = True
        """Whether the journal was empty."""
        self.begun = secrets.token_hex(8)
        """Tells this journal from all others, also of the same job."""
        self.clock = JobClock()
        self._database = database
        self._value_store = value_store
        self._computation = computation
        self._links = links
        self._parent = parent
        self._sieve = sieve
        self._on_move = on_move
        self.tracer: Tracer = NO_TRACER
        self._events: asyncio.Queue[tuple[Event, dict[Key, BlobRef]]] = asyncio.Queue()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ranges: dict[str, str] = {}
        """Of children that want a part of the model only."""
        self._changed: dict[Key, BlobRef | None] = {}
        self._released: list[BlobRef] = []
        self._untold: list[tuple[ModelMoved, BlobRef | None]] = []
        """Moves that become durable with the next records, and the group's model after each."""
        self._training: asyncio.Task[None] | None = None

    async def recover(self, first: dict[Key, BlobRef] | None = None) -> None:
        """Become what the journal says. ``first``: values of a job that begins here.

        Raises:
            StorageError: it cannot be read, or another version of Fogline wrote it.
        """
        entries = await asyncio.to_thread(lambda: list(self._database.read(self.job)))
        found = replay(self.job, entries, self._parent, self.machine, self._count)
        self.fresh, self.begun = found.fresh, found.begun or self.begun
        self.values = await asyncio.to_thread(self._database.values, self.job)
        await asyncio.to_thread(self._value_store.restore, self.values.values())
        self.clock = JobClock(found.at)
        if self.fresh:
            for key, value in (first or {}).items():
                self._set(key, value)
        await self._commit([] if found.under == self._parent else [ENCODE(Under(self._parent, self.begun))])
        self._untold = [(move, self.values.get(move.model + GROUP)) for move in found.moves]

    def tell_moves(self) -> None:
        """Tell of the moves that are durable; after :meth:`recover`, of those that the journal has."""
        untold, self._untold = self._untold, []
        for told in untold:
            if self._on_move is not None:
                self._on_move(*told)

    def put(self, event: Event, values: dict[Key, BlobRef] | None = None) -> None:
        """Something happened; ``values`` came with it and are durable."""
        for value in (values or {}).values():
            self._value_store.keep(
                value
            )  # Until the event is handled: another child may bring, and drop, the same bytes.
        self._events.put_nowait((event, values or {}))

    async def run(self) -> None:
        """Until the machine is done with the job.

        Raises:
            StorageError, WorkerError: the machine must be made anew from its journal.
        """
        try:
            while not self.machine.over:
                batch = [await self._events.get()]
                while not self._events.empty():
                    batch.append(self._events.get_nowait())
                await self._step(batch)
        finally:
            self.close()

    def close(self) -> None:
        """Stop timers and training."""
        for timer in self._timers.values():
            timer.cancel()
        if self._training is not None:
            self._training.cancel()
        self._computation.close()

    def expects(self, child: str, task: int) -> bool:
        """Whether an update of that child for that request may come."""
        return self.machine.expects(child, task)

    async def _step(self, batch: list[tuple[Event, dict[Key, BlobRef]]]) -> None:
        effects: list[Effect] = []
        for event, values in batch:
            if not self._admit(event, values):
                continue
            if isinstance(event, Joined):
                self._ranges[event.child] = event.hello.ranges
            effects += await self._handle(event)
        logs.begin(self.job, self.machine.round + 1)
        entries: list[bytes] = []
        acts: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Write):
                entries.append(ENCODE(effect.record))
                self._count(effect.record)
                if isinstance(effect.record, Assigned | Posted):
                    self._drop_unneeded()
            elif not await self._compute(effect, effects):
                acts.append(effect)
        self._released += [value for _, values in batch for value in values.values()]
        await self._commit(entries)
        for effect in acts:
            self._act(effect)

    async def _handle(self, event: Event) -> list[Effect]:
        """What the machine does; what it must know of the updates that wait, it is told meanwhile."""
        sieve = self._sieve
        if sieve is None:
            return self.machine.handle(event, self.clock.now())
        sieve.begin()
        effects = self.machine.handle(event, self.clock.now())
        while wanted := sieve.wanted():
            for accepted in map(in_order, wanted):
                aggregator = cast("Aggregator", self.machine)
                members, combine = aggregator.ledger.members(accepted), aggregator.combines(accepted)
                refused = await self._computation.sift(members, self.values, combine)
                sieve.learn(accepted, {accepted[place].task: why for place, why in refused.items()})
            effects += self.machine.handle(UpdatesChecked(), self.clock.now())
        return effects

    def _admit(self, event: Event, values: dict[Key, BlobRef]) -> bool:
        """Take over what came with an event; an update that nobody waits for must not replace one that is there."""
        if isinstance(event, Received) and isinstance(event.message, Report):
            own = update_key(self.machine.name, event.message.task)
            values = {key: value for key, value in values.items() if key == own}
            if not self.expects(event.sender, event.message.task):
                values = {}
            elif event.message.update is not None and own not in values:
                return False  # Its bytes are not here; the child will bring both again.
        elif isinstance(event, Received) and isinstance(event.message, Step):
            own = event.message.value
            expected = self.machine.expects_step(event.sender, event.message)
            if expected and own not in values:
                return False
            values = {own: values[own]} if expected else {}
        for key, value in values.items():
            self._set(key, value)
        if isinstance(event, Received) and isinstance(event.message, Work):
            self.tracer.begin(self.job, event.message.round, event.message.task, event.sender)
            if len(values) > 1:
                self._keep_differences(event.message.model)
        return True

    def _differences(self, key: Key) -> list[Key]:
        """The versions up to that model which differences lead to, as far as they take less than the whole."""
        if key not in self.values:
            return []
        links = chain(key, self.values)
        return useful(links, {link: self.values[link + DIFFERENCE].size for link in links}, self.values[key].size)

    def _keep_differences(self, key: Key) -> None:
        """Keep those that lead to that model, and no others."""
        kept = {link + DIFFERENCE for link in self._differences(key)}
        for other in [name for name, value in self.values.items() if value.kind == "difference" and name not in kept]:
            self._set(other, None)

    async def _compute(self, effect: Effect, effects: list[Effect]) -> bool:
        """Carry out what makes values; whether it was such an effect. ``effects``: of the step, to which it may add."""
        match effect:
            case ChildStep() | ParentStep():
                event, values = await self._computation.step(effect, self.values)
                for key, value in values.items():
                    self._set(key, value)
                self.put(event)
                return True
            case Adopt() | Move() | Merge() | AddUp() | GroupUpdate() | Combine():
                with self.tracer.work("aggregate", self.job):
                    made = await self._computation.carry_out(effect, self.values, self.moves, self.machine.population)
            case Forget():
                for key in effect.keys:
                    self._set(key, None)
                    self._set(key + GROUP, None)
                    for part in [other for other in self.values if other.startswith(key + PART)]:
                        self._set(part, None)
                return True
            case Send(to=to, message=Work(kind="train", model=key)) if self._ranges.get(to):
                await self._cut(to, key)
                return False
            case _:
                return False
        for key, value in made.values.items():
            self._set(key, value)
        if isinstance(effect, Adopt | Move):
            self._keep_differences(effect.model)
        for child, why in made.refused:
            self._links.tell(Count("refused", child, why))
        if made.scores:  # In the transaction of the move: a crash between the two would lose what the round has shown.
            effects += self.machine.handle(Scored(made.scores), self.clock.now())
        # In a ring the last hop may be lost, and the round counts all the same.
        if (
            isinstance(effect, Move)
            and self._on_move is not None
            and (not effect.members or len(made.refused) < len(effect.members))
        ):
            facts = effect.round, effect.final, len(effect.members), effect.devices, self.clock.now()
            self._untold.append((ModelMoved(effect.model, *facts), self.values.get(effect.model + GROUP)))
            if effect.final:
                self.tracer.end(self.job, effect.round)
        return True

    async def _cut(self, child: str, key: Key) -> None:
        """Make the part of a model that a child gets, if it is not there yet. One that there is not is no part of it:
        then it gets the whole."""
        part, model = self._part(child, key), self.values.get(key)
        if part in self.values or model is None:
            return
        try:
            await self._links.need(model)
            self._set(part, await self._computation.cut(model, self._ranges[child]))
        except (LookupError, WorkerError) as error:
            self._ranges[child] = ""
            self._links.tell(Count("failed", child, f"it gets the whole model: {error}"))

    def _part(self, child: str, key: Key) -> Key:
        """The key of the part of a model that a child gets; of the model, where it gets the whole."""
        ranges = self._ranges.get(child)
        return key if not ranges else f"{key}{PART}{hashlib.sha256(ranges.encode()).hexdigest()[:16]}"

    def _count(self, record: Record) -> None:
        self.attempts += isinstance(record, Assigned)
        self.moves += isinstance(record, Closed) and record.met

    def _drop_unneeded(self) -> None:
        """What came from the parent is not all the machine's to forget: it goes when that has taken other work."""
        needed = self.machine.keys()
        ours = [key for key, value in self.values.items() if value.kind in FROM_ABOVE]
        for key in [key for key in ours if key.partition(PART)[0] not in needed]:
            self._set(key, None)
            self._set(key + GROUP, None)

    def _set(self, key: Key, value: BlobRef | None) -> None:
        before = self.values.pop(key, None)
        if before is not None:
            self._released.append(before)
        if value is not None:
            self.values[key] = value
            self._value_store.keep(value)
        if before is not None or value is not None:
            self._changed[key] = value

    async def _commit(self, entries: list[bytes]) -> None:
        entries = entries + [ENCODE(move) for move, _ in self._untold]
        if entries or self._changed:
            await _finished(asyncio.to_thread(self._database.append, self.job, entries, self._changed))
        self.tell_moves()
        released, self._released, self._changed = self._released, [], {}
        self._value_store.release(released)

    def _act(self, effect: Effect) -> None:
        match effect:
            case Send(to=to, message=message):
                self._trace(message)
                key = _named(message)
                if isinstance(message, Work) and message.kind == "train":
                    key = self._part(to, message.model)
                value = self.values.get(key) if key is not None else None
                differences = self._told(message.model) if isinstance(message, Work) and key == message.model else ()
                # Who holds an older version needs the newest difference; who does not asks for the rest.
                data = b"" if value is None or differences else value.data
                blob = None if value is None else Blob(value.digest, value.size, data)
                self._links.send(to, NodeMessage(self.job, message, blob, differences))
            case SetTimer(timer=timer, at=at):
                self._set_timer(timer, at)
            case Train() | Examine():
                self._train(effect)
            case Count():
                self._links.tell(effect)
            case Finished():
                pass  # The machine is over, which ends :meth:`run`.
            case _:
                raise TypeError(f"There is no way to carry out {effect}.")

    def _trace(self, message: Message) -> None:
        """A round begins at the root with its first request, and elsewhere ends with the report."""
        match message:
            case Work(kind="train", round=round_) if not self._parent:
                self.tracer.begin(self.job, round_, round_)
            case Report(task=task):
                self.tracer.end(self.job, task)
            case _:
                pass

    def _told(self, key: Key) -> tuple[Difference, ...]:
        """The differences that lead to a model, as a message names them; the last goes along where it is small."""
        links = self._differences(key)
        parts = [(link, self.values[link + DIFFERENCE]) for link in links]
        return tuple(
            Difference(link, Blob(part.digest, part.size, part.data if link == key else b"")) for link, part in parts
        )

    def _set_timer(self, timer: str, at: float) -> None:
        before = self._timers.pop(timer, None)
        if before is not None:
            before.cancel()
        delay = max(0.0, at - self.clock.now())
        self._timers[timer] = asyncio.get_running_loop().call_later(delay, self.put, TimerFired(timer))

    def _train(self, effect: Train | Examine) -> None:
        if self._training is not None:
            self._computation.give_up(self._training)
        self._training = asyncio.create_task(self._trained(effect, self.attempts - 1))

    async def _trained(self, effect: Train | Examine, attempt: int) -> None:
        try:
            await self._links.need(self.values[effect.model])
        except (LookupError, StorageError) as error:
            self.put(Trained(effect.task, effect.update, 0, failure=f"the model is not here: {error}"))
            return
        refused = await self._links.allow(effect, attempt)
        if refused is not None:
            self.put(Trained(effect.task, effect.update, 0, failure=refused))
            return
        with self.tracer.work("train", self.job):
            event, values = await self._computation.train(effect, self.values, attempt)
        if self._training is not asyncio.current_task():  # Nobody waits for it, and the method's state is as before.
            self._computation.drop(values)
            values = {}
        self.put(event, values)


def _named(message: Message) -> Key | None:
    """The value that a message names, if any."""
    match message:
        case Work(model=key) | Report(update=key) | Step(value=key):
            return key
        case _:
            return None


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Do it, and when cancelled still see it to its end: who reads the journal next must find what was written."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
