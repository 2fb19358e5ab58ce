"""What ``fogline up`` starts: the job with its counts, who hangs below whom, and who has which client's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fogline.cli.failures import UsageError
from fogline.cli.up.inspect_task import Question, TaskFacts, survey
from fogline.governance.subject import Role, node_name
from fogline.jobs import Job
from fogline.jobs.job import Publish
from fogline.jobs.reading import read_job
from fogline.jobs.writing import job_to_toml

MOST = 32
"""Devices that are started without being asked for by number."""
RINGS, RING_TIME = (0.2, 1.0), 1.0
PROBATION = {"seconds": 2.0, "requests": 20.0, "longest": 4.0}
"""How ``--serve`` rolls out where the job does not say: nobody wants to watch a rehearsal for minutes."""


@dataclass(frozen=True)
class Wishes:
    """What was asked for."""

    overrides: tuple[str, ...] = ()
    fogs: int | None = None
    devices: int | None = None
    folder: Path | None = None
    keep: bool = False
    quiet: bool = False
    serve: bool = False
    """Whether the devices answer predictions in the end."""


@dataclass(frozen=True)
class PlannedNode:
    """A node, and its place."""

    name: str
    role: Role
    parent: str
    client: str = ""
    """Whose data it has."""


@dataclass(frozen=True)
class StartPlan:
    """What is started."""

    job: Job
    seats: tuple[PlannedNode, ...]
    planned: bool
    """Whether every client has its device, so that the run is that of a simulation."""
    by_the_clock: bool
    """Whether rounds go by who comes first."""
    notes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    """What its workers will import."""

    @property
    def root(self) -> str:
        """Name of the cloud."""
        return root_of(self.job)


def root_of(job: Job) -> str:
    """Name of the root of a job's tree."""
    return job.tree.nodes(job.tree.names[0])[0]


def job_of(file: Path, wishes: Wishes) -> Job:
    """The job with as many fogs as are wanted.

    Raises:
        JobError: it is wrong.
        UsageError: it has no place for fogs.
    """
    job = read_job(file, wishes.overrides)
    if wishes.devices is not None and wishes.devices < 1:
        raise UsageError(f"--devices is {wishes.devices}; it must be at least 1")
    if wishes.serve and "device" not in job.publish.tiers:
        raise UsageError('--serve shows devices that answer; the job gives them none: add "device" to publish.tiers')
    lower = len(job.tree.names) > 1
    if wishes.fogs is not None and wishes.fogs < 1 and lower:
        raise UsageError(f"--fogs {wishes.fogs}: the job's tree has a tier '{job.tree.names[-1]}'; give it 1 or more")
    if wishes.fogs is not None and wishes.fogs >= 1:
        tier = job.tree.names[-1] if lower else "fog"
        job = read_job(file, [*wishes.overrides, f"tree.tiers.{tier}.count={wishes.fogs}"])
    return job.model_copy(update={"publish": _quick(job.publish)}) if wishes.serve else job


def _quick(publish: Publish) -> Publish:
    """With quick rollouts, as far as the job does not say how they go."""
    quick = {"rings": RINGS, "ring_time": RING_TIME}
    missing = {key: value for key, value in quick.items() if key not in publish.model_fields_set}
    return publish.model_copy(update={**missing, "probation": {**PROBATION, **publish.probation}})


async def plan(file: Path, job: Job, wishes: Wishes, answer: Path) -> StartPlan:
    """Look at the task, and seat everybody.

    Raises:
        JobError: the task cannot be loaded, or does not suit the tree.
        UsageError: the devices do not fit the task's clients.
    """
    text = job_to_toml(job, only_given=True)
    found = await survey(Question(text, str(file.parent), wishes.devices), answer)
    if found.parameter:
        parameters = {**job.task_parameters, "clients": wishes.devices}
        job = job.model_copy(update={"task_parameters": parameters})
    count = _check(found, wishes)
    seats = [
        PlannedNode(name, "fog", parent, "") for name, parent in job.tree.parents().items() if parent is not None
    ] + [
        PlannedNode(node_name(client), "device", home, client)
        for client, home in zip(found.clients[:count], found.homes[:count], strict=True)
    ]
    whole = count == len(found.clients)
    by_the_clock = any((tier.mode or found.mode) in ("async", "semi-async") for tier in job.tree.tiers.values())
    return StartPlan(job, tuple(seats), whole, by_the_clock, tuple(_notes(found, wishes, count)), found.modules)


def _check(found: TaskFacts, wishes: Wishes) -> int:
    """How many devices there will be."""
    clients = len(found.clients)
    if wishes.devices is None:
        if clients > MOST:
            raise UsageError(f"The task has {clients} clients; say how many devices to start with --devices")
        return clients
    if wishes.devices > clients:
        raise UsageError(f"The task has data for {clients} devices only; give --devices {clients}, or less")
    return wishes.devices


def _notes(found: TaskFacts, wishes: Wishes, count: int) -> Sequence[str]:
    if found.parameter:
        return [f"The task makes {wishes.devices} clients: task_parameters.clients={wishes.devices}"]
    rest = len(found.clients) - count
    if rest:
        return [
            f"The task has {len(found.clients)} clients and takes no parameter 'clients', so the data of {rest} is "
            "left out, and the result is not that of a simulation"
        ]
    return []
