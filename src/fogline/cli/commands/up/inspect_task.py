"""The program that looks at a job's task: ``python -m fogline.cli.commands.up.inspect_task ANSWER``.

The question comes on standard input. A process of its own, since the task's code is heavy, and may print.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fogline.jobs import Job

LAZY = {"torch": "torch._dynamo"}
"""What a library imports only when training begins; PyTorch with its first optimizer."""


DRAWN = ("uniform", "weighted")
"""Policies that go by the seed alone."""


class TaskQuestion(msgspec.Struct, frozen=True):
    """Which job is looked at, and for how many devices."""

    text: str
    folder: str
    """Where its task lies."""
    devices: int | None = None
    """Devices that are wanted; None: one for each client."""


class TaskFacts(msgspec.Struct, frozen=True):
    """What its task's data says."""

    clients: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    """The aggregator above each client, as a simulation has it."""
    parameter: bool = False
    """Whether the number of clients was set by the task's parameter of that name."""
    by_the_clock: bool = False
    """Whether what comes of the job depends on times, or on devices that are lost in a simulation."""
    error: str = ""
    modules: tuple[str, ...] = ()
    """What was imported, but for what lies beside the job: what its workers will share."""


async def inspected(question: TaskQuestion, answer: Path) -> TaskFacts:
    """Ask in a process of its own. ``answer``: a file that is not there yet.

    Raises:
        JobError: the task cannot be loaded, or does not suit the tree.
    """
    from fogline.jobs import JobError

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "fogline.cli.commands.up.inspect_task", str(answer)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate(msgspec.json.encode(question))
    finally:
        if process.returncode is None:
            process.kill()
    if not answer.exists():
        words = said.decode(errors="replace").strip().splitlines() or [f"status {process.returncode}"]
        raise JobError(f"The task could not be loaded: {words[-1]}")
    found = msgspec.json.decode(answer.read_bytes(), type=TaskFacts)
    if found.error:
        raise JobError(found.error)
    return found


def facts_of(question: TaskQuestion) -> TaskFacts:
    """Load the task, with as many clients as there will be devices where it lets us say so.

    Raises:
        JobError: it cannot be loaded, or does not suit the tree.
    """
    from fogline.algorithms.registry import find
    from fogline.cli.commands.simulation import check_names
    from fogline.jobs.files.reading import parse_job
    from fogline.jobs.loading import load_task
    from fogline.jobs.planning import assign

    job, folder = parse_job(question.text), Path(question.folder)
    parameter = question.devices is not None and takes_clients(job.task, folder)
    if parameter:
        parameters = {**job.task_parameters, "clients": question.devices}
        job = job.model_copy(update={"task_parameters": parameters})
    task = load_task(job, folder)
    check_names(job, task)
    clients = tuple(task.data.clients)
    homes, modules = tuple(assign(job.tree, task.data)), tuple(installed(folder))
    by_the_clock = goes_by_the_clock(job, find(job.algorithm.name).mode, len(clients))
    return TaskFacts(clients, homes, parameter, by_the_clock, modules=modules)


def goes_by_the_clock(job: Job, mode: str, clients: int) -> bool:
    """Whether a run on real nodes and a simulation of the same job may come to different models, because they have
    other clocks, and because simulated devices drop out.

    Args:
        job: what is run.
        mode: of tiers that name none.
        clients: devices in all.

    Raises:
        JobError: its devices are none.
    """
    from fogline.jobs import JobError
    from fogline.simulation.profiles import fleet_of

    for tier in job.tree.tiers.values():
        if (tier.mode or mode) in ("async", "semi-async") or tier.over_selects or tier.policy not in DRAWN:
            return True
        if tier.keeps_pace:
            return True
        if tier.deadline is not None and job.devices:  # Of unequal devices some may be too slow there.
            return True
    try:
        return fleet_of(job.devices, clients, job.seed).loses
    except ValueError as error:
        raise JobError(str(error)) from error


def installed(folder: Path) -> Sequence[str]:
    """Modules that were imported, or will be by training, in order; but for those whose files lie in a folder."""
    beside = folder.resolve()
    found: list[str] = []
    for name in LAZY.keys() & sys.modules.keys():
        import_module(LAZY[name])
    for name, module in sys.modules.items():
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if name != "__main__" and origin and beside not in Path(origin).resolve().parents:
            found.append(name)
    return found


def takes_clients(name: str, folder: Path) -> bool:
    """Whether a task is a function with a parameter ``clients``; what is wrong with it shows when it is loaded."""
    sys.path.insert(0, str(folder.resolve()))
    module, _, attribute = name.partition(":")
    try:
        found: object = import_module(module)
    except ImportError:
        return False
    for part in attribute.split("."):
        found = getattr(found, part, None)
    return inspect.isfunction(found) and "clients" in inspect.signature(found).parameters


def main() -> None:
    """The program."""
    from fogline.jobs import JobError

    question = msgspec.json.decode(sys.stdin.buffer.read(), type=TaskQuestion)
    try:
        answer = facts_of(question)
    except JobError as error:
        answer = TaskFacts(error=str(error))
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
