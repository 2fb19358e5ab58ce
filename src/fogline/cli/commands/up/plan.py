"""What ``fogline up`` starts: the job with its counts, who hangs below whom, and who has which client's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fogline.cli.commands.up.inspect_task import TaskFacts, TaskQuestion, inspected
from fogline.cli.failures import UsageError
from fogline.governance.subject import Role, node_name
from fogline.jobs import Job
from fogline.jobs.files.reading import read_job
from fogline.jobs.files.writing import job_to_toml
from fogline.jobs.job import Publish
from fogline.jobs.judging import check_honest
from fogline.jobs.protection.promise import promise_of

MOST = 32
"""Devices that are started without being asked for by number."""
RINGS, RING_TIME = (0.2, 1.0), 1.0
PROBATION = {"seconds": 2.0, "requests": 20.0, "longest": 4.0}
"""How ``--serve`` rolls out where the job does not say: nobody wants to watch a rehearsal for minutes."""


@dataclass(frozen=True)
class UpOptions:
    """What was asked for."""

    overrides: tuple[str, ...] = ()
    fogs: int | None = None
    devices: int | None = None
    folder: Path | None = None
    keep: bool = False
    quiet: bool = False
    serve: bool = False
    """Whether the devices answer predictions in the end."""
    board: bool = False
    """Whether there is a page that shows it."""


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
    """What is started: the job, its nodes, and what there is to say of it."""

    job: Job
    nodes: tuple[PlannedNode, ...]
    planned: bool
    """Whether every client has its device, so that the run is that of a simulation."""
    by_the_clock: bool
    """Whether rounds go by who comes first."""
    notes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    """What its workers will import."""

    @property
    def root(self) -> str:
        """Name of the root of the tree: the cloud."""
        return root_of(self.job)


def root_of(job: Job) -> str:
    """Name of the root of a job's tree."""
    return job.tree.nodes(job.tree.names[0])[0]


def job_of(file: Path, options: UpOptions) -> Job:
    """The job with as many fogs as are wanted.

    Raises:
        JobError: it is wrong.
        UsageError: it has no place for fogs.
    """
    job = read_job(file, options.overrides)
    if options.fogs is not None and options.fogs < 0:
        raise UsageError(f"--fogs is {options.fogs}; it must be at least 0")
    if options.devices is not None and options.devices < 1:
        raise UsageError(f"--devices is {options.devices}; it must be at least 1")
    if options.serve and "device" not in job.publish.tiers:
        raise UsageError('--serve shows devices that answer; the job gives them none: add "device" to publish.tiers')
    lower = len(job.tree.names) > 1
    if options.fogs is not None and options.fogs < 1 and lower:
        raise UsageError(f"--fogs {options.fogs}: the job's tree has a tier '{job.tree.names[-1]}'; give it 1 or more")
    if options.fogs is not None and options.fogs >= 1:
        tier = job.tree.names[-1] if lower else "fog"
        job = read_job(file, [*options.overrides, f"tree.tiers.{tier}.count={options.fogs}"])
    return job.model_copy(update={"publish": _quick(job.publish)}) if options.serve else job


def _quick(publish: Publish) -> Publish:
    """With quick rollouts, as far as the job does not say how they go."""
    quick = {"rings": RINGS, "ring_time": RING_TIME}
    missing = {key: value for key, value in quick.items() if key not in publish.model_fields_set}
    return publish.model_copy(update={**missing, "probation": {**PROBATION, **publish.probation}})


async def plan(file: Path, job: Job, options: UpOptions, answer: Path) -> StartPlan:
    """Look at the task, and give everybody a place.

    Raises:
        JobError: the task cannot be loaded, or does not suit the tree, or the job is for simulations.
        UsageError: the devices do not fit the task's clients.
    """
    check_honest(job)
    text = job_to_toml(job, only_given=True)
    found = await inspected(TaskQuestion(text, str(file.parent), options.devices), answer)
    if found.parameter:
        parameters = {**job.task_parameters, "clients": options.devices}
        job = job.model_copy(update={"task_parameters": parameters})
    count = _check(found, options)
    if job.tree.minimum > count:
        raise UsageError(
            f"tree.minimum is {job.tree.minimum}, but only {count} devices are started, so no round could count; make "
            f"it at most {count}, or start more with --devices"
        )
    nodes = [
        PlannedNode(name, "fog", parent, "") for name, parent in job.tree.parents().items() if parent is not None
    ] + [
        PlannedNode(node_name(client), "device", home, client)
        for client, home in zip(found.clients[:count], found.homes[:count], strict=True)
    ]
    whole = count == len(found.clients)
    promise = promise_of(job)
    notes = (*([promise] if promise else []), *_notes(found, options, count))
    return StartPlan(job, tuple(nodes), whole, found.by_the_clock, notes, found.modules)


def _check(found: TaskFacts, options: UpOptions) -> int:
    """How many devices there will be."""
    clients = len(found.clients)
    if options.devices is None:
        if clients > MOST:
            raise UsageError(f"The task has {clients} clients; say how many devices to start with --devices")
        return clients
    if options.devices > clients:
        raise UsageError(f"The task has data for {clients} devices only; give --devices {clients}, or less")
    return options.devices


def _notes(found: TaskFacts, options: UpOptions, count: int) -> Sequence[str]:
    if found.parameter:
        return [f"The task makes a client for each device: task_parameters.clients={options.devices}"]
    rest = len(found.clients) - count
    if rest:
        return [
            f"The task has {len(found.clients)} clients and takes no parameter 'clients', so the data of {rest} is "
            "left out, and the result is not that of a simulation"
        ]
    return []
