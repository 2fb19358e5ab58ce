"""A job: one checked description of what is to be learned, how, where and for how long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from fogline.governance.policy.offers import Needs
from fogline.jobs.checked import Demand, StrictModel
from fogline.jobs.privacy import DEVICES, Privacy
from fogline.jobs.shares import Shares
from fogline.jobs.tree import CountOrShare, Tree
from fogline.jobs.units import seconds, size
from fogline.settings import LocalSettings

Scalar = float | int | str | bool | None
MODEL_NAME = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
MODEL_NAMES = "at most 63 letters, digits, dots and dashes, with a letter or a digit at both ends"


class Method(StrictModel):
    """The algorithm by name (or ``module:Class``) with its parameters."""

    called = "an algorithm"

    name: str = "fedavg"
    parameters: Mapping[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_private(cls, given: Any) -> Any:
        """``private`` is a parameter of every method, and may stand beside the name."""
        if not (isinstance(given, Mapping) and "private" in given):
            return cast("Any", given)
        table = dict(cast("Mapping[str, Any]", given))
        private, parameters = table.pop("private"), table.get("parameters", {})
        if not isinstance(parameters, Mapping):
            return table  # It is refused for that.
        if "private" in parameters:
            raise ValueError("private stands beside the name and among the parameters; leave one of the two out")
        return table | {"parameters": {**parameters, "private": private}}


class Local(StrictModel, LocalSettings):
    """Local training: see :class:`fogline.training.LocalTraining`, whose fields these are, and how devices differ."""

    called = "local training"
    work: Annotated[
        tuple[PositiveFloat, PositiveFloat] | None,
        Demand("a list of two numbers above 0, the smallest and the largest"),
    ] = None
    """Devices differ in how much they do: each round a device draws a factor on its amount of work from this
    range (1 is all of it)."""

    @model_validator(mode="after")
    def _consistent(self) -> Local:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set local.momentum")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is of SGD, and the optimizer is {self.optimizer}; leave one of them out")
        if self.decay != 1 and self.schedule != "exponential":
            raise ValueError(f"decay is of the exponential schedule, and the schedule is {self.schedule}")
        if self.work is not None and self.work[0] > self.work[1]:
            raise ValueError("work must be [smallest, largest]")
        return self


class FineTune(StrictModel):
    """How much a device trains before it judges."""

    called = "fine-tuning"

    epochs: PositiveInt = 1
    """Passes over its examples."""
    learning_rate: PositiveFloat | None = None
    """None: that of the round."""


class Evaluation(StrictModel):
    """When and on what the model is judged."""

    called = "evaluation"

    every: PositiveInt = 1
    """Rounds between two judgements of the global model."""
    where: Literal["cloud", "devices", "both"] = "cloud"
    """``cloud``: on the data's common test set. ``devices``: each device judges the model on examples of its own that
    it does not train on, and only sums of that leave it."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Where devices judge: how much of each one's examples never trains, drawn by the seed. One whose data has a test
    set of its own trains on all examples."""
    cohort: CountOrShare = 1.0
    """Devices that each aggregator above devices asks to judge: a count, or a share of those there are."""
    fine_tune: FineTune | None = None
    """Where devices judge: how much each trains first, from the model, with the job's local training. Nothing of that
    is sent."""
    target: FiniteFloat | None = None
    """The headline metric's goal, in its unit; the rounds, time, bytes and energy to reach it are reported."""
    stop_at_target: bool = False
    patience: PositiveInt | None = None
    """Stop when the headline metric has not improved for that many judgements."""
    baselines: tuple[str, ...] = ()
    """What the same model is compared with at the end of a simulation, trained without federation: ``pooled`` (all
    devices' data in one place), ``alone`` (each device by itself)."""

    @model_validator(mode="after")
    def _consistent(self) -> Evaluation:
        if self.stop_at_target and self.target is None:
            raise ValueError("stop_at_target needs a target; set evaluation.target")
        return self

    @property
    def on_devices(self) -> bool:
        """Whether devices judge."""
        return self.where != "cloud"

    @property
    def at_cloud(self) -> bool:
        """Whether the common test set judges."""
        return self.where != "devices"


class JobNeeds(StrictModel):
    """What the job asks of every device; one that does not offer it is not asked. A simulation ignores it."""

    called = "needs"

    memory: Annotated[int, BeforeValidator(size), Field(ge=0)] = 0
    """Bytes, or ``"2GB"``."""
    cpus: NonNegativeInt = 0
    frameworks: tuple[str, ...] = ()
    """Packages by their import name: ``torch``, ``sklearn``."""
    tags: tuple[str, ...] = ()
    """Data that owners give, by the tags of their policies."""

    def told(self) -> Needs:
        """The same, as nodes tell each other of it: :class:`fogline.governance.Needs` has these fields."""
        return msgspec.convert(self, Needs, from_attributes=True)


class AttackPlan(StrictModel):
    """Who is malicious in a simulation, and what they do."""

    called = "an attack"

    name: str = "sign_flip"
    """What they do, with parameters in brackets: see ``fogline algorithms``; or ``module:Class``."""
    malicious: CountOrShare = 0.2
    """How many are malicious, drawn by the seed: a count, or a share, rounded, at least one."""
    at: str = DEVICES
    """Where they are: ``devices``, or a tier of aggregators below the root."""
    who: tuple[str, ...] = ()
    """Their names, in place of a draw."""

    @model_validator(mode="after")
    def _consistent(self) -> AttackPlan:
        if self.who and self.malicious != AttackPlan.model_fields["malicious"].default:
            raise ValueError("who names the malicious, and malicious says how many are drawn; leave one of the two out")
        return self


class Publish(StrictModel):
    """How the model becomes versions in the cloud's registry, and how they reach the nodes that serve it. A simulation
    ignores it."""

    called = "publish"

    model: Annotated[str, Field(pattern=MODEL_NAME), Demand(MODEL_NAMES)] = ""
    """Its name; empty: the job's."""
    every: NonNegativeInt = 0
    """Rounds between two versions; 0 publishes the finished model only."""
    at_least: FiniteFloat | None = None
    """What the headline metric must reach on the test set (at most that, where lower is better)."""
    not_worse_than: NonNegativeFloat | None = None
    """How much worse than the version served it may be in that metric, in its unit; 0: not at all."""
    even_if: tuple[Literal["stopped", "failed", "unjudged"], ...] = ()
    """Whether a version is made also of a job that was stopped or failed, or of a model that nothing could judge."""
    keep: PositiveInt = 10
    """Versions of this job that the registry keeps, the newest; besides, those that nodes serve and that people
    approved."""
    delta: Literal["lossless", "int8", "sparse"] = "lossless"
    """How a version travels to who has the one before. The version is what comes out of it, so all have the same."""
    variants: tuple[Literal["int8", "fp16"], ...] = ()
    """Graphs in fewer bits that are made too; a node takes what is fastest there."""
    exits: tuple[str, ...] = ()
    """Names for the outputs of a model whose outputs are all complete answers, the cheapest first: the first that is
    sure enough is given (early exit)."""
    exit_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    """What the exits must reach together on the test set; None: what the last one reaches alone."""
    tiers: tuple[Literal["device", "fog", "cloud"], ...] = ("device", "fog", "cloud")
    """Which nodes serve it."""
    roll_out: bool = True
    """Whether a version goes out by itself; else people promote it."""
    rings: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.1, 0.5, 1.0)
    """Shares of the nodes that get a version one after the other."""
    ring_time: Annotated[PositiveFloat, BeforeValidator(seconds)] = 60.0
    """Seconds that each ring is watched at least."""
    shadow: bool = False
    """Whether it first answers silently beside the version before."""
    probation: Mapping[str, float] = Field(default_factory=dict)
    """What sends a node back to the version before: see :class:`fogline.registry.release.Probation`."""
    thresholds: Mapping[str, float] = Field(default_factory=dict)
    """What aborts a rollout: see :class:`fogline.registry.release.Thresholds`."""

    @model_validator(mode="after")
    def _consistent(self) -> Publish:
        if list(self.rings) != sorted(set(self.rings)) or not self.rings or self.rings[-1] != 1:
            raise ValueError("rings must rise and end with 1, such as [0.1, 0.5, 1.0]")
        if len(self.exits) == 1 or len(set(self.exits)) < len(self.exits):
            raise ValueError('exits need two names at least, each another, such as ["early", "late"]')
        if self.exit_accuracy is not None and not self.exits:
            raise ValueError('exit_accuracy needs the names of the outputs too: exits = ["early", "late"]')
        return self


class Job(StrictModel):
    """Everything that decides a run. The resolved job in a run's folder repeats it to the bit."""

    called = "a job"

    name: str = "run"
    task: str = ""
    """``module:attribute`` of a task or of a function that returns one; empty when it was given in Python."""
    task_parameters: Mapping[str, Any] = Field(default_factory=dict)
    algorithm: Method = Method()
    local: Local = Local()
    tree: Tree = Field(default_factory=Tree)
    rounds: PositiveInt = 50
    start: str = ""
    """The model to begin with instead of an untrained one: a safetensors file for a simulation; at a cloud
    ``NAME@VERSION`` of its registry, or ``NAME`` for the newest."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    exact: bool = False
    """Fold in fixed point: the same bits for any order and any tree."""
    devices: Mapping[str, Any] = Field(default_factory=dict)
    """Profile of the simulated devices and their links: a preset and what differs from it."""
    shares: Shares = Shares()
    """How much of the model each device trains, of a method that has smaller models; all of it, where nothing is
    said."""
    links: Mapping[str, Any] = Field(default_factory=dict)
    """Profile of the links between aggregators."""
    needs: JobNeeds = JobNeeds()
    """What real devices must offer to take part."""
    evaluation: Evaluation = Evaluation()
    queries: tuple[str, ...] = ()
    """Questions to the devices' examples, asked once, after the first round: ``"label_counts"``,
    ``"histogram(low=0, high=1, bins=20)"``. Only sums leave a device."""
    privacy: Privacy | None = None
    """Differential privacy; None: none."""
    attack: AttackPlan | None = None
    """In a simulation, what malicious nodes do; None: all are honest. A cloud refuses a job that has one."""
    publish: Publish = Publish()
    engine: str | None = None
    """Training engine; None measures the first cohort and chooses."""
    chunk: PositiveInt | None = None
    """Devices that an engine trains together; None measures."""
    engine_compared: str = ""
    """Written by a run: a digest of all that ``engine`` was compared with the reference for. While it stays the same,
    the comparison is not made again."""
    engines_refused: Mapping[str, str] = Field(default_factory=dict)
    """Written by a run: engines that it did not take, and why."""
    executor: str | None = None
    """Where cohorts are trained in a simulation: see ``fogline executors``; None takes worker processes, or this one
    where ``processes`` is 0 or a GPU trains."""
    processes: NonNegativeInt | None = None
    """Worker processes; 0 trains in this one; None takes one per core."""
    checkpoint_every: PositiveInt | None = 10
    """Rounds between two checkpoints, and one at the end; None writes none."""


def asks_beside(job: Job) -> bool:
    """Whether devices are asked beside the training."""
    return job.evaluation.on_devices or bool(job.queries)


def asks(job: Job, kind: str, query: str, measures: bool) -> bool:
    """Whether devices are asked that beside the training.

    Args:
        job: the job.
        kind: ``evaluate``, ``query`` or ``measure``.
        query: of that kind: which.
        measures: whether the method has running statistics measured.
    """
    if kind == "measure":
        return measures
    return query in job.queries if kind == "query" else job.evaluation.on_devices


def model_name(job: Job) -> str:
    """What the versions that a job publishes are called."""
    return job.publish.model or re.sub(r"[^A-Za-z0-9._-]+", "-", job.name)[:63].strip("._-") or "model"
