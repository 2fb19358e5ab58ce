"""One job on one node: its code, its worker process, its state machine, and who takes part."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import msgspec

from fogline import logs
from fogline.compute.effects import STATE
from fogline.monitoring.tree_state import RoundState
from fogline.network.node.context import NodeContext
from fogline.network.node.participation.arriving import Arrivals
from fogline.network.node.participation.computing import Computation
from fogline.network.node.participation.driver import CHILDREN_HAVE, Driver
from fogline.network.node.participation.exchanging import JobIdentity
from fogline.network.node.participation.gathering import Gathering
from fogline.network.node.participation.root_job import RootJob
from fogline.network.node.participation.sieve import Sieve
from fogline.network.node.participation.standing import RoundCounts, outcome, round_of, rounds_of
from fogline.network.node.participation.survey import SurveyPart
from fogline.network.node.status import StatusChange
from fogline.network.timing import ALONE, BACK
from fogline.network.transport.messages import (
    BROKEN,
    SPENT,
    Blob,
    Difference,
    JobAnnouncement,
    JobLog,
    JoinedJob,
    LeftJob,
    NodeMessage,
)
from fogline.network.transport.uplink import ConnectionLostError, UpdateNotTakenError
from fogline.network.worker.client import JobBrokenError, WorkerClient, WorkerError
from fogline.nodes.effects import Count, Examine, Train
from fogline.nodes.events import Halt, Joined, Left, Received, Started, TimerFired
from fogline.nodes.messages import Hello, Report, Step, Stop, Work
from fogline.nodes.outbox import RETRY
from fogline.processes.tasks import Tasks, first_of, until
from fogline.retries import MACHINE_AGAIN, VALUE_AGAIN
from fogline.storage import BlobRef, StorageError

if TYPE_CHECKING:
    from fogline.network.node.participation.charging import Charging
    from fogline.nodes.aggregator import Aggregator
    from fogline.nodes.device import Device

log = logging.getLogger("fogline.network")


Make = Callable[[str | None], "Aggregator | Device"]
"""From the parent's name to a new state machine."""


class JobParticipation:
    """A node's part in a job.

    Args:
        announcement: the job.
        node: the node.
        worker_client: where its numbers are computed.
        make: makes its state machine.
        root: what it is there besides; None below the root.
        leaf: whether it is a device, which only has an uplink.
        samples: examples that it has.
        trains: whether it trains, or is only asked beside the training.
        surveyor: makes the state machine that asks, or is asked, beside the training; None where the job does not.
        charging: at a device: charges for what is trained; None where the job counts nothing.
    """

    def __init__(
        self,
        announcement: JobAnnouncement,
        node: NodeContext,
        worker_client: WorkerClient,
        make: Make,
        root: RootJob | None = None,
        leaf: bool = False,
        samples: int = 0,
        ranges: str = "",
        trains: bool = True,
        surveyor: Make | None = None,
        charging: Charging | None = None,
    ) -> None:
        self.announcement = announcement
        self.job = announcement.job
        self.children: dict[str, Hello] = {}
        self.parent: str | None = None
        self.over = False
        self._node = node
        self.worker_client = worker_client
        self._identity = None if node.credentials is None else JobIdentity(announcement.job, node.credentials)
        self._computation = Computation(
            node.value_store, worker_client, node.slots, announcement.priority, identity=self._identity
        )
        self._arrivals = Arrivals(node, worker_client)
        self._make = make
        self._root = root
        self._leaf = leaf
        self._own = Hello(samples=samples, trains=trains, ranges=ranges)
        """What a device says of itself, but for how many examples it has where nobody is to know."""
        self._surveyor = surveyor
        self._driver: Driver | None = None
        self.survey: SurveyPart | None = None
        """What it does beside the training, while it takes part."""
        self._concluded = asyncio.Event()
        """At the root: nothing more will be asked."""
        self._tasks = Tasks(node.name)
        self._gathering = Gathering(announcement.plan.get(node.name, ()))
        self._hello: Hello | None = None
        self._task: asyncio.Task[None] | None = None
        self._halting = asyncio.Event()
        self._failure: str | None = None
        self._loading: asyncio.Task[None] | None = None
        self._empty: asyncio.TimerHandle | None = None
        self._charging = charging
        self._moves = False
        """Whether it computes with its parent's models."""

    # Life.

    async def run(self, parent: str | None) -> None:
        """Take part until the job is over. ``parent``: whose work it takes; None at the root."""
        logs.begin(self.job)
        self.parent, self._task = parent, asyncio.current_task()
        while not self.over:
            try:
                await self._run_once()
            except (StorageError, WorkerError) as error:
                if self._root is not None and isinstance(error, WorkerError):
                    self._end(str(error))
                    break
                what = BROKEN if isinstance(error, JobBrokenError) else "stopped"
                self.tell(Count(what, self._node.name, str(error)))
                await asyncio.sleep(MACHINE_AGAIN)  # Told again until the root has heard of it.
        self._task = None

    async def _run_once(self) -> None:
        node, parent = self._node, self.parent
        await self._ready()
        machine = self._make(parent)
        self._moves = not self._leaf and cast("Aggregator", machine).role.moves
        sieve = None
        if not self._leaf:
            sieve = cast("Aggregator", machine).sift = Sieve()
        first, on_move = ({}, None) if self._root is None else (self._root.first, self._root.moved)
        driver = Driver(
            self.job, machine, node.database, node.value_store, self._computation, self, parent or "", sieve, on_move
        )
        driver.tracer = node.tracer
        await driver.recover(first)
        fresh = driver.fresh
        survey = await self._begin_survey()
        self._driver = driver
        if self._halting.is_set():
            driver.put(Halt())
        running = asyncio.create_task(driver.run())
        surveying = asyncio.create_task(survey.run()) if survey is not None else None
        driver.tell_moves()
        try:
            self._gathering.already(self.children.keys())
            if self._gathering.pending:
                await self._gather(driver, running, fresh)
            else:
                driver.put(Started())
                for child, hello in self.children.items():
                    if hello.trains:
                        driver.put(Joined(child, hello))
            self.enter()
            await first_of(running, surveying)
            self._say_stop()
            if self._root is not None or surveying is None:
                self._end(self._failure)
            if surveying is not None:
                await self._until_nothing_is_asked(surveying)
        finally:
            self._driver = self.survey = None
            running.cancel()
            await asyncio.wait((running,))
            if surveying is not None:
                surveying.cancel()
                await asyncio.wait((surveying,))

    async def _begin_survey(self) -> SurveyPart | None:
        """The part that is asked beside the training, ready to run."""
        if self._surveyor is None:
            return None
        of = self.job, self._node, self.worker_client, self._surveyor, self, self.parent, self._leaf, self._state
        survey = SurveyPart(*of, self._identity)
        await survey.begin(self.children)
        self.survey = survey
        return survey

    def _state(self) -> BlobRef | None:
        return None if self._driver is None else self._driver.values.get(STATE)

    async def _until_nothing_is_asked(self, surveying: asyncio.Task[None]) -> None:
        """Training is over. Devices judge the last model too: the root waits until that is done, and then says that
        the job has ended, for which the others wait."""
        if self._root is None:
            await surveying
            return
        concluded = asyncio.create_task(self._concluded.wait())
        await first_of(concluded, surveying)

    def conclude(self) -> None:
        """At the root: nothing more will be asked."""
        self._concluded.set()

    async def _ready(self) -> None:
        """Have the job loaded before anybody waits for this node: a round begins with those who are ready."""
        if self._root is not None:
            await until(self._halting, self.worker_client.open())
        else:
            await self.worker_client.load(self.refuse)

    async def _gather(self, driver: Driver, running: asyncio.Task[None], fresh: bool) -> None:
        """Begin when the children that are expected by name are there, or have not come in time."""
        # After a restart they come back by themselves, and at once, or they had left before.
        seconds = self.announcement.wait if fresh else min(self.announcement.wait, BACK)
        missing = await self._gathering.wait(running, seconds, self.children)
        if missing and fresh:
            self.tell(Count("missing", self._node.name, f"{', '.join(missing)} did not come in time"))
        for child in self._gathering.close(self.children):
            driver.put(Joined(child, self.children[child]))
        driver.put(Started())

    async def close(self, why: str = "the node does not take part any more") -> None:
        """Stop at once, and end the worker."""
        await self.leave()
        await self.worker_client.close(why)

    async def leave(self) -> None:
        """Stop at once; the journal keeps what was, and nobody writes it any more when this returns. The worker may
        be used on."""
        self.over = True
        if self._empty is not None:
            self._empty.cancel()
        self._tasks.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    # Upward.

    def enter(self) -> None:
        """Tell the parent that this node takes part, once it has something to bring."""
        uplink, driver = self._node.uplink, self._driver
        if uplink is None or driver is None or uplink.parent != self.parent or self._gathering.pending:
            return
        if self._leaves_spent() or (self._leaf and not self.worker_client.loaded):
            return  # It enters when the job is loaded.
        if not self._leaf:
            devices = self._below()
            if not devices:
                return
            self._hello = Hello(devices=devices, task=driver.machine.task, asked=self._asked)
        else:
            tells = self.announcement.hellos and (self._charging is None or not self._charging.hides_size)
            samples, task = self._own.samples if tells else 0, driver.machine.task
            self._hello = msgspec.structs.replace(self._own, samples=samples, task=task, asked=self._asked)
        if self._empty is not None:
            self._empty.cancel()
            self._empty = None
        uplink.send(JoinedJob(self.job, self._hello))
        driver.put(TimerFired(RETRY))
        if self.survey is not None:
            self.survey.put(TimerFired(RETRY))

    @property
    def _asked(self) -> int:
        """The highest number of a request of the parent's beside the training."""
        return -1 if self.survey is None else self.survey.driver.machine.task

    def _machine(self, name: str) -> Driver | SurveyPart | None:
        """What a message is for, by the name of the job or of its surveys."""
        return self._driver if name == self.job else self.survey

    def from_parent(self, said: NodeMessage) -> None:
        """The parent said something to this job's machine."""
        machine, message = self._machine(said.job), said.message
        if machine is None or self._driver is None or self.parent is None:
            return
        if not isinstance(message, Work | Step):
            machine.put(Received(self.parent, message))
        elif said.blob is not None:
            self._tasks.spawn(self._take(machine, message, said.blob, said.differences))

    async def _take(
        self, machine: Driver | SurveyPart, message: Work | Step, blob: Blob, differences: tuple[Difference, ...]
    ) -> None:
        """Take a request, or the answer to a step of an exchange; who computes with its value must have the bytes
        first."""
        assert self.parent is not None
        assert self._driver is not None
        kind, key = ("model", message.model) if isinstance(message, Work) else ("reply", message.value)
        reads, held = self._leaf or self._reads(message), self._driver.values
        try:
            value = await self._arrivals.take(blob, kind, reads, differences, held)
        except (LookupError, StorageError) as error:
            self.tell(Count("failed", self._node.name, f"the {kind} did not come: {error}"))
            await asyncio.sleep(VALUE_AGAIN)
            self.enter()  # If the round is not over by then, the parent asks again.
            return
        others = {} if reads else self._arrivals.handed_on(differences, held)
        machine.put(Received(self.parent, message), {key: value, **others})

    def _reads(self, message: Work | Step) -> bool:
        """Whether an aggregator computes with what comes along, and does not only hand it on."""
        return isinstance(message, Step) or (self._moves and message.kind == "train")

    # Downward.

    def child_entered(self, child: str, hello: Hello) -> None:
        """A child takes part (again)."""
        self.children[child] = hello
        if self._gathering.pending:
            self._gathering.arrived(self.children.keys())
        elif self._driver is not None and hello.trains:
            self._driver.put(Joined(child, hello))
        if self.survey is not None:
            self.survey.joined(child, hello)
        self._recount()

    def child_left(self, child: str) -> None:
        """A child does not take part any more."""
        if self.children.pop(child, None) is not None and self._driver is not None and not self._gathering.pending:
            self._driver.put(Left(child))
            self._recount()
        if self.survey is not None:
            self.survey.put(Left(child))

    def from_child(self, child: str, said: NodeMessage) -> None:
        """A child said something to this job's machine."""
        machine, message = self._machine(said.job), said.message
        if machine is None or self._driver is None or child not in self.children:
            return
        if not isinstance(message, Report | Step):
            return
        values: dict[str, BlobRef] = {}
        kind, key = ("update", message.update) if isinstance(message, Report) else ("step", message.value)
        blob = said.blob
        if blob is not None and key is not None:
            try:
                if self.expects(said.job, child, message.task):
                    value = self._node.value_store.receive(blob, kind)
                    values |= {} if value is None else {key: value}
                elif not blob.data:
                    self._node.value_store.discard(blob.digest)
            except StorageError as error:  # It brings it again.
                self.tell(Count("not stored", child, str(error)))
        machine.put(Received(child, message), values)

    def expects(self, name: str, child: str, task: int) -> bool:
        """Whether an update of that child may come: of the job, or of its surveys."""
        survey = self.survey
        driver = self._driver if name == self.job else None if survey is None else survey.driver
        return driver is not None and driver.expects(child, task)

    def model(self, digest: str) -> Blob | None:
        """A blob that children of this job may have."""
        for blob in (self.announcement.bundle, self.announcement.frozen):
            if blob is not None and digest == blob.digest:
                return blob
        drivers = (self._driver, None if self.survey is None else self.survey.driver)
        values = (value for driver in drivers if driver is not None for value in driver.values.values())
        return next((Blob(v.digest, v.size) for v in values if v.kind in CHILDREN_HAVE and v.digest == digest), None)

    def halt(self, why: str | None = None) -> None:
        """The operator ends the job; or it has failed, and ``why``."""
        self._failure = self._failure or why
        self._halting.set()
        if self._driver is not None:
            self._driver.put(Halt())

    def _recount(self) -> None:
        """The parent hears of it when another number of devices is below this node."""
        if self._hello is not None and not self.children and self._node.uplink is not None and self._empty is None:
            self._empty = asyncio.get_running_loop().call_later(ALONE, self._left_alone)
        if (self._hello is None and self.children) or (
            self._hello is not None and self._hello.devices != self._below()
        ):
            self.enter()

    def _left_alone(self) -> None:
        """Nobody came back for a while, so the parent need not wait for this node."""
        self._empty = None
        if not self.children and self._hello is not None:
            self._hello = None
            self.refuse("no device is below it")

    def _below(self) -> int:
        return sum(hello.devices for hello in self.children.values() if hello.trains)

    # What the driver asks for.

    def send(self, to: str, said: NodeMessage) -> None:
        """To the parent or a child."""
        if to != self.parent:
            self._node.say(to, said)
        elif isinstance(said.message, Report | Step) and said.blob is not None and not said.blob.data:
            self._tasks.spawn(self._bring(said, said.message, said.blob))
        elif self._node.uplink is not None:
            self._node.uplink.send(said)
            reported = self._leaf and isinstance(said.message, Report)
            if reported and not self._leaves_spent() and not self.worker_client.loaded:
                self._reload()

    def _leaves_spent(self) -> bool:
        """Leave the job where the data here may give away nothing more for it; whether it does."""
        if why := "" if self._charging is None else self._charging.spent:
            self.refuse(why)
            self.tell(Count(SPENT, self._node.name, why))
        return bool(why)

    def _reload(self) -> None:
        """The worker has ended: nobody may ask this device for anything until another one has loaded the job."""
        if self._loading is None or self._loading.done():
            self.refuse("its worker process has ended, and loads the job anew")
            self._loading = self._tasks.spawn(self._load())

    async def _load(self) -> None:
        self._node.on_change(StatusChange("loading", self.job))
        await self.worker_client.load(self.refuse)
        self._node.on_change(StatusChange("idle"))
        self.enter()

    async def _bring(self, said: NodeMessage, message: Report | Step, blob: Blob) -> None:
        """The value goes first: a report, or a step, names what is there."""
        uplink = self._node.uplink
        assert uplink is not None
        try:
            await uplink.push(blob, said.job, message.task)
        except ConnectionLostError as error:
            log.info("%s keeps its update of job %s for now: %s", self._node.name, self.job, error)
            return  # It is sent again when the connection is back, and every now and then.
        except (UpdateNotTakenError, StorageError) as error:  # It never will be there.
            samples = message.samples if isinstance(message, Report) else 0
            said = NodeMessage(said.job, Report(message.task, None, samples, failure=str(error)))
        except LookupError:
            pass  # The parent does not wait for it any more; the report says the rest.
        uplink.send(said)

    def tell(self, count: Count) -> None:
        """Something for the job's report."""
        self._node.tell(JobLog(self.job, self._node.name, count.what, count.child or "", count.why or ""))

    async def allow(self, effect: Train | Examine, attempt: int) -> str | None:
        """Why the data here must not be used, if so; else that it is, and what that gives away, is written down.

        Sums of what is asked beside the training are not charged: an owner with a budget lets no such job in.
        """
        if self._charging is not None and self._driver is not None and isinstance(effect, Train):
            refused = await self._charging.allow(attempt + 1, self._driver.begun)
            if refused is not None:
                return refused
        used = "train" if isinstance(effect, Train) else effect.kind
        has = self._own.samples
        await self._node.audit.record(
            "data.used", self._node.name, self.job, kind=used, round=effect.round, examples=has
        )
        return None

    async def need(self, value: BlobRef) -> None:
        """See that a value's bytes are here: after a power cut a model may have to be fetched again."""
        if not value.data and self._node.uplink is not None:
            await self._node.uplink.fetch(Blob(value.digest, value.size))

    def refuse(self, why: str) -> None:
        """Tell the parent that this node does not take part."""
        if self._node.uplink is not None:
            self._node.uplink.send(LeftJob(self.job, why))

    # The end.

    def _say_stop(self) -> None:
        """The machine that trains is done."""
        for child in self.children:
            self._node.say(child, NodeMessage(self.job, Stop()))

    def _end(self, why: str | None) -> None:
        told, self.over = self.over, True
        if self._root is not None and not told:
            self._root.ended(why, None if self._driver is None else outcome(self._driver))

    def round_state(self, most: int) -> RoundState | None:
        """How the round here stands, with ``most`` names of children at most; None of a device, or before it begins."""
        return None if self._leaf or self._driver is None else round_of(self._driver, most)

    @property
    def rounds(self) -> RoundCounts:
        """At the root, while it takes part: the rounds so far."""
        return RoundCounts() if self._driver is None else rounds_of(self._driver)
