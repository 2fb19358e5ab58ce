"""A node's part in what a job asks beside the training: a second state machine with a journal of its own.

It has the connections, the children and the worker of the job's participation, and neither waits for the machine that
trains nor holds it up. At the root it is asked by the cloud; below, by the parent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from fogline.compute.effects import STATE
from fogline.network.node.context import NodeContext
from fogline.network.node.participation.computing import Computation
from fogline.network.node.participation.driver import Driver
from fogline.network.node.participation.exchanging import JobIdentity
from fogline.network.node.participation.sieve import Sieve
from fogline.network.transport.messages import JobAnnouncement, NodeMessage
from fogline.network.worker.client import WorkerClient
from fogline.nodes.effects import Count, Examine, Train, surveyed
from fogline.nodes.events import Event, Joined, Received, Started
from fogline.nodes.messages import HERE, Hello, Key, Kind, Receipt, Report, Work
from fogline.storage import BlobRef
from fogline.storage.errors import explained

if TYPE_CHECKING:
    from fogline.nodes.aggregator import Aggregator
    from fogline.nodes.device import Device

SUFFIX = "/survey"
Make = Callable[[str | None], "Aggregator | Device"]


def survey_of(job: str) -> str:
    """Name of a job's surveys: of their journal, and in messages."""
    return f"{job}{SUFFIX}"


def job_of(name: str) -> str:
    """The job, by its own name or by that of its surveys."""
    return name.removesuffix(SUFFIX)


class SurveyEndedError(Exception):
    """Too few devices answered; the text says why."""


class Outside(Protocol):
    """What a survey needs of the job's participation."""

    announcement: JobAnnouncement

    def send(self, to: str, said: NodeMessage) -> None: ...
    def tell(self, count: Count) -> None: ...
    async def need(self, value: BlobRef) -> None: ...
    async def allow(self, effect: Train | Examine, attempt: int) -> str | None: ...


class SurveyPart:
    """A node's surveys of one job.

    Args:
        job: the job.
        node: the node.
        worker_client: where sums are made and added.
        make: makes the state machine.
        outside: the node's participation in the job.
        parent: whose requests it takes; None at the root.
        leaf: whether it is a device.
        state: gives the vectors that the method keeps on this device.
        identity: who this node is in the job's exchanges.
    """

    def __init__(
        self,
        job: str,
        node: NodeContext,
        worker_client: WorkerClient,
        make: Make,
        outside: Outside,
        parent: str | None,
        leaf: bool,
        state: Callable[[], BlobRef | None],
        identity: JobIdentity | None = None,
    ) -> None:
        self._outside = outside
        self._node = node
        self._leaf = leaf
        self._state = state
        self._answers: dict[int, asyncio.Future[Report]] = {}
        """What the root has asked."""
        self._turn = asyncio.Lock()
        machine, sieve = make(parent), None
        if not leaf:
            sieve = cast("Aggregator", machine).sift = Sieve()
        personal = self._keep_personal if leaf else None
        computation = Computation(
            node.value_store, worker_client, node.slots, sums=True, identity=identity, personal=personal
        )
        self.driver = Driver(
            survey_of(job), machine, node.database, node.value_store, computation, self, parent or HERE, sieve
        )

    async def begin(self, children: dict[str, Hello]) -> None:
        """Become what the journal says, and go on.

        Raises:
            StorageError: the journal cannot be read.
        """
        await self.driver.recover()
        self.driver.put(Started())
        for child, hello in children.items():
            self.joined(child, hello)

    async def run(self) -> None:
        """Until it is cancelled: what a job asks has no end of its own.

        Raises:
            StorageError, WorkerError: the machine must be made anew from its journal.
        """
        try:
            await self.driver.run()
        finally:
            self.give_up("the node begins anew")

    def joined(self, child: str, hello: Hello) -> None:
        """A child is there (again)."""
        self.driver.put(Joined(child, msgspec.structs.replace(hello, task=hello.asked)))

    def put(self, event: Event, values: dict[Key, BlobRef] | None = None) -> None:
        """Something happened; see :meth:`Driver.put`."""
        if self._leaf and isinstance(event, Received) and isinstance(event.message, Work):
            state = self._state()
            values = (values or {}) | ({} if state is None else {STATE: state})
        self.driver.put(event, values)

    async def ask(self, kind: Kind, round_: int, model: BlobRef, query: str = "") -> bytes:
        """At the root: ask all devices, and wait for their sums.

        Args:
            kind: what is asked.
            round_: the job's, from 0.
            model: what goes down with the request.
            query: of kind ``query``: which.

        Returns:
            The sums, as :class:`fogline.aggregation.tally.SurveySums` writes them.

        Raises:
            UnansweredError: too few answered in time.
            StorageError: the sums are not there any more.
        """
        async with self._turn:  # A machine that is asked anew gives up what it was asked before.
            task = self.driver.machine.task + 1
            key = f"{self._node.name}?{task}"
            answer = self._answers[task] = asyncio.get_running_loop().create_future()
            self.driver.put(Received(HERE, Work(task, key, round_, kind, query)), {key: model})
            try:
                report = await answer
                if report.update is None:
                    raise SurveyEndedError(report.failure or "nobody answered")
                path = self._node.value_store.path(self.driver.values[report.update])
                return await asyncio.to_thread(_read, path)
            finally:
                del self._answers[task]
                self.driver.put(Received(HERE, Receipt(task, accepted=True)))

    def give_up(self, why: str) -> None:
        """Nobody waits any more for what the root has asked."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SurveyEndedError(why))

    async def _keep_personal(self, draft: Path) -> None:
        """Keep what this device has of its own of the job's model, for its node to serve; it goes nowhere else."""
        from fogline.jobs.files.reading import parse_job
        from fogline.jobs.job import model_name  # Not above: a device that only trains need not read jobs.

        model = model_name(parse_job(self._outside.announcement.text))
        with explained("keep what this device has of its own of a model", draft):
            await asyncio.to_thread(self._node.personal.keep, model, draft)
        if self._node.serving is not None:
            self._node.serving.personal(model)

    # What the driver asks for.

    def send(self, to: str, said: NodeMessage) -> None:
        """To the parent, a child, or, at the root, to who asked."""
        if to != HERE:
            self._outside.send(to, said)
            return
        assert isinstance(said.message, Report)
        answer = self._answers.get(said.message.task)
        if answer is None:  # It was asked before a restart; whoever wants to know asks again.
            self.driver.put(Received(HERE, Receipt(said.message.task, accepted=False)))
        elif not answer.done():
            answer.set_result(said.message)

    def tell(self, count: Count) -> None:
        """Something for the job's report."""
        self._outside.tell(surveyed(count))

    async def allow(self, effect: Train | Examine, attempt: int) -> str | None:
        """Why the data here must not be asked, if so."""
        return await self._outside.allow(effect, attempt)

    async def need(self, value: BlobRef) -> None:
        """See that a value's bytes are here."""
        await self._outside.need(value)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
