"""What a job means for each device: its place in the tree, and how much it trains from which seed."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from functools import cache, reduce
from typing import Protocol

import msgspec
import numpy as np

from fogline.algorithms import Algorithm, hooks
from fogline.algorithms.sub_models import Part
from fogline.data import FederatedData
from fogline.jobs.errors import JobError, shown
from fogline.jobs.job import Job, Local
from fogline.jobs.judging import with_judges
from fogline.jobs.own_training import check_own_training
from fogline.jobs.tree import Tier, Tree
from fogline.modes import Mode
from fogline.training.context import NO_PUBLIC, WORK, Draws, RoundContext
from fogline.training.example_privacy import ExamplePrivacy
from fogline.training.hook_calls import wrong
from fogline.training.local import LocalTraining
from fogline.training.method import overrides
from fogline.training.plan import Plan
from fogline.training.shuffling import cuts
from fogline.training.task import Task
from fogline.user_code.bugs import CodeError

MASK = (1 << 64) - 1
OF_STEPS = ("optimizer", "momentum", "nesterov", "weight_decay", "clip_norm")
"""Keys of local training that say how an engine's step is made, and not how much is trained."""
COMMON = 0xC0
"""Sets the seeds that rounds have apart from those of devices."""


class LocalPlan(msgspec.Struct, frozen=True, gc=False):
    """How much a device trains, and from which seed."""

    steps: int
    examples: int
    """Examples it passes over in all."""
    samples: int
    """Examples it has."""
    learning_rate: float
    seed: int
    round: int = 0
    """How many rounds its parent made before."""
    common_seed: int = 0
    """Of the round: the same on all its devices."""
    batch_size: int | None = None
    """Examples in a step; None takes all at once."""
    share: float = 1.0
    """Of the model's numbers, how many it can train at most."""


class Planner(Protocol):
    """What a client does in a round."""

    def __call__(self, client: int, round_index: int, attempt: int, effort: float = 1.0, /) -> LocalPlan:
        """``attempt`` counts the device's own local rounds; ``effort``: of the work that a round means, how much."""
        ...


def with_defaults(job: Job, algorithm: Algorithm, task: Task) -> Job:
    """The job with the method's and the model's own settings, where the job says nothing else: of local training, and
    of who judges.

    Raises:
        JobError: the method's are none, its formulas do not hold for the job's, the job says how steps are made that
            the method or the task makes itself, or it has judges that the method cannot have.
    """
    job, said = with_judges(job, algorithm), job.local.model_fields_set
    check_own_training(job, algorithm, task)
    defaults = {"smallest_batch": task.smallest_batch, **algorithm.local_defaults}
    changes = {name: value for name, value in defaults.items() if name not in said}
    try:
        local = Local(**{name: getattr(job.local, name) for name in said} | changes)
    except JobError as error:
        raise JobError(f"The settings of {type(algorithm).__name__} (local_defaults) cannot be: {error}") from None
    _check_steps(algorithm, local)
    try:
        algorithm.check_local(local)
    except ValueError as error:
        raise JobError(f"{type(algorithm).__name__}: {error}") from error
    return job.model_copy(update={"local": local}) if changes else job


def _check_steps(algorithm: Algorithm, local: Local) -> None:
    """Refuse to say how steps are made where the method makes them itself, in plain PyTorch."""
    if not overrides(algorithm, "local_round"):
        return
    for name in OF_STEPS:
        value = getattr(local, name)
        if value != Local.model_fields[name].default:
            raise JobError(
                f"local.{name} is {shown(value)}, but {type(algorithm).__name__} trains by itself (local_round) and "
                f"would not see it; leave it out, and make the optimizer so in local_round"
            )


def local_training(job: Job) -> LocalTraining:
    """The part of a job that engines see: most of its local table, and what a step does for single examples."""
    privacy, settings = job.privacy, job.local.model_dump(include=set(LocalTraining.model_fields))
    if privacy is not None and privacy.unit == "example":
        settings["privacy"] = ExamplePrivacy(clip=privacy.clip, noise=privacy.noise)
    return LocalTraining(**settings)


def assign(tree: Tree, data: FederatedData) -> list[str]:
    """The aggregator above each device, by client.

    Raises:
        JobError: the tree wants natural groups and the data has none, or more aggregators than devices.
    """
    leaves = tree.leaves()
    count = len(data.clients)
    if count < len(leaves):
        raise JobError(f"The tree has {len(leaves)} aggregators above {count} devices; give each at least one.")
    if tree.assign == "groups":
        if data.groups is None:
            raise JobError(f"tree.assign is 'groups', but the data set '{data.name}' has no natural groups.")
        place = {group: i for i, group in enumerate(sorted(set(data.groups.values())))}
        return [leaves[place[data.groups[client]] % len(leaves)] for client in data.clients]
    if tree.assign == "blocks":
        return [leaves[i * len(leaves) // count] for i in range(count)]
    return [leaves[i % len(leaves)] for i in range(count)]


def check_rounds(algorithm: Algorithm, job: Job) -> None:
    """Refuse rounds of a fog's own where the method has none, and what a tier's mode takes no notice of.

    Raises:
        JobError: a tier below the root makes some, or a tier has settings of another mode.
    """
    for name, mode in job.tree.modes(algorithm.mode).items():
        _check_mode(name, job.tree.tiers[name], mode)
        _check_changes(name, job.tree.tiers[name], algorithm)
    if algorithm.inner_rounds:
        return
    for name in job.tree.names[1:]:
        tier = job.tree.tiers[name]
        if tier.rounds > 1 or (tier.mode or algorithm.mode) != "sync":
            raise JobError(
                f"{type(algorithm).__name__} has no rounds of a tier's own: leave tree.{name}.rounds and "
                f"tree.{name}.mode out."
            )


def _check_mode(name: str, tier: Tier, mode: Mode) -> None:
    if tier.buffer is not None and mode != "async":
        raise JobError(
            f"{name}.buffer is {tier.buffer}, which is of mode 'async', and the mode is '{mode}'; leave {name}.buffer "
            f"out, or set {name}.mode"
        )
    if tier.over_selects and mode in ("async", "ring") and not tier.exchange:  # With one, groups are asked together.
        takes = "a buffer's worth is waited for" if mode == "async" else "children are asked one after the other"
        raise JobError(
            f"{name}.over_selection is {shown(tier.over_selection)}, but the mode is '{mode}', in which {takes}, and "
            f"nobody is asked beyond that; leave {name}.over_selection out"
        )
    if tier.speed_classes != Tier.model_fields["speed_classes"].default and mode != "semi-async":
        raise JobError(
            f"{name}.speed_classes is {tier.speed_classes}, which is of mode 'semi-async', and the mode is '{mode}'; "
            f"leave {name}.speed_classes out, or set {name}.mode"
        )


def _check_changes(name: str, tier: Tier, algorithm: Algorithm) -> None:
    """What is asked for beyond the cohort is dropped as a rule, and a device takes for told what it sent."""
    if algorithm.adds_changes and tier.over_selects and tier.late == "drop":
        raise JobError(
            f"{name}.over_selection is {shown(tier.over_selection)}, so that some of what children send is dropped, "
            f"and {type(algorithm).__name__} adds up all changes that devices tell of: these would be missing for "
            f"good; leave {name}.over_selection out, or set {name}.late to 'fold'"
        )


def check_task(algorithm: Algorithm, task: Task) -> None:
    """Refuse a task that has not what the method wants.

    Raises:
        JobError: its data has no public part, or it cannot judge outputs that the method changes.
    """
    name, data = type(algorithm).__name__, task.data
    if algorithm.needs_public and data.public is None:
        raise JobError(f"{name} wants public examples, and the data set '{data.name}' has none; {NO_PUBLIC}.")
    if type(algorithm).judged_outputs is not Algorithm.judged_outputs and not task.judges_outputs:
        raise JobError(
            f"{name} changes the outputs that devices are judged by, and task '{task.name}' judges whole models only: "
            "it wants a PyTorch task with a loss of outputs and targets, and without an evaluate of its own."
        )


def _all(client: int) -> float:
    return 1.0


def planner(
    job: Job,
    data: FederatedData,
    algorithm: Algorithm,
    share: Callable[[int], float] = _all,
    part: Part | None = None,
) -> Planner:
    """How much each device trains in each of its rounds.

    Args:
        job: says how much a round is.
        data: says how many examples each device has.
        algorithm: the method, which may change that.
        share: of the model, by client.
        part: what a device does that is asked for part of it; None: fewer steps.
    """
    local = local_training(job)
    work, rounds, batch_size = job.local.work, job.rounds, local.batch_size
    samples: list[int] = data.sizes().tolist()
    states, common = _states(_mixed_in(0, job.seed), len(samples)), _mixed_in(COMMON, job.seed)

    @cache
    def whole(samples: int) -> tuple[int, int]:
        """Steps, and examples passed over, of a device that does all the work."""
        steps = local.step_count(samples)
        return steps, examples_of(local, samples, steps)

    @cache
    def of_round(round_index: int) -> tuple[float, int]:
        """Learning rate and seed that all devices of a round have."""
        return local.rate(round_index, rounds), _mixed_in(common, round_index) >> 1

    def plan(client: int, round_index: int, attempt: int, effort: float = 1.0) -> LocalPlan:
        seed = _mixed_in(states[client], attempt) >> 1
        held, own = samples[client], share(client)
        if part is not None and effort < 1.0:
            own, effort = part(effort, own)
        if work is None and effort == 1.0:
            steps, examples = whole(held)
        else:
            drawn = 1.0 if work is None else random.Random(seed).uniform(*work)
            steps = local.step_count(held, effort * drawn)
            examples = examples_of(local, held, steps)
        rate, common_seed = of_round(round_index)
        return LocalPlan(steps, examples, held, rate, seed, round_index, common_seed, batch_size, own)

    if not overrides(algorithm, "work"):
        return plan

    def by_method(client: int, round_index: int, attempt: int, effort: float = 1.0) -> LocalPlan:
        planned = plan(client, round_index, attempt, effort)
        device = RoundContext(str(data.clients[client]), round_index, Draws(planned.seed, planned.common_seed, WORK))
        return _asked(algorithm, local, planned, device)

    return by_method


def _asked(algorithm: Algorithm, local: LocalTraining, planned: LocalPlan, device: RoundContext) -> LocalPlan:
    """What the method makes of a plan.

    Raises:
        CodeError: it is none that a device could carry out.
    """
    usual = Plan(planned.steps, planned.samples, planned.learning_rate, planned.batch_size, local.smallest_batch)
    try:
        wanted = hooks.work(algorithm, usual, device)
        if wanted.batch_size is not None and wanted.batch_size < local.smallest_batch:
            raise wrong(
                algorithm, "work", f"gives batches of {wanted.batch_size}; the model wants {local.smallest_batch}"
            )
    except CodeError as error:
        error.at(f"Client '{device.client}'")
        raise
    batches = local.model_copy(update={"batch_size": wanted.batch_size})
    return msgspec.structs.replace(
        planned,
        steps=wanted.steps,
        examples=examples_of(batches, planned.samples, wanted.steps),
        learning_rate=wanted.learning_rate,
        batch_size=wanted.batch_size,
    )


def examples_of(local: LocalTraining, samples: int, steps: int) -> int:
    """Examples that a device passes over in so many steps; the last batch of an epoch may be smaller."""
    batch = min(local.batch_size or samples, samples)
    epochs, rest = divmod(steps, len(cuts(samples, batch, local.smallest_batch)))
    return epochs * samples + rest * batch


def mix(*numbers: int) -> int:
    """A seed from numbers: 63 bits, by splitmix64's finaliser."""
    return reduce(_mixed_in, numbers, 0) >> 1


def _mixed_in(state: int, number: int) -> int:
    state = (state + number + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def _states(start: int, count: int) -> array[int]:
    """``start`` mixed with each number below ``count``."""
    with np.errstate(over="ignore"):  # Modulo 2^64, as :func:`_mixed_in`.
        state = np.arange(count, dtype=np.uint64) + np.uint64(start + 0x9E3779B97F4A7C15 & MASK)
        state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return array("Q", (state ^ state >> np.uint64(31)).tobytes())
