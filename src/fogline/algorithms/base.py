"""FedAvg and what every method shares: what is sent down, how a step is adjusted, what is sent up, how it moves.

A method overrides one or two hooks. Hooks are pure functions of arrays; the runtime stores the state that they
return and hands it back. All vectors that hooks see are trained parameters, (P,), without those that stay on devices
(``private``); buffers (running means) are always averaged plainly by the runtime, counters keep their largest value
(the median one under a rule that needs all updates), and what is frozen goes nowhere.

State has an owner:

- ``local``: per device. Given to ``prepare``, the adjustments and ``report``; ``report`` returns the next one.
- aggregator state: per cloud or fog. Given to ``broadcast``, ``receive`` and ``server_update``.

Parameters of a method are fields: a subclass becomes a frozen dataclass by itself::

    class FedProx(FedAvg):
        mu: float = 0.01

A subclass of that gives one of them another value by ``mu = 0.1``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from fogline.aggregation import Folded, Weight, is_per_number
from fogline.data import Examples
from fogline.modes import Mode
from fogline.parameters import Parametrised
from fogline.params import Spec, State, Vector
from fogline.settings import LocalSettings
from fogline.training.context import DeviceContext
from fogline.training.method import LocalMethod
from fogline.training.sub_models import ModelCutter, SubModel


def shown(vector: object) -> str:
    """An array in a few words, or what else it is."""
    shape, kind = getattr(vector, "shape", None), getattr(vector, "dtype", None)
    return repr(vector) if shape is None else f"<{kind} {tuple(shape)}>"


class Weighted(NamedTuple):
    """A vector that a device sends up, and its weight in the mean: a number, or (n,), one for each of its numbers."""

    vector: Vector
    weight: Weight

    def __repr__(self) -> str:
        weight = shown(self.weight) if is_per_number(self.weight) else self.weight
        return f"Weighted({shown(self.vector)}, {weight})"


Moved = tuple[Vector, State]
"""What an aggregator's hooks give: its next model, (P,), and its next state."""

NO_METRICS: Mapping[str, float] = {}
METRIC = "metric/"
"""Prefix of the terms under which metrics go up; a method's own terms have other names."""


class ClientUpdate(NamedTuple):
    """What a device sends up, by name, and the state it keeps."""

    terms: dict[str, Weighted]
    local: State
    metrics: Mapping[str, float] = NO_METRICS
    """Numbers by name, of which every tier gets the mean, weighted by examples: ``metric/<name>`` in the history."""

    def __repr__(self) -> str:
        kept = ", ".join(f"'{name}': {shown(vector)}" for name, vector in self.local.items())
        return f"ClientUpdate({self.terms}, {{{kept}}}{f', {dict(self.metrics)}' if self.metrics else ''})"


@dataclass(frozen=True, slots=True)
class AggregatorContext:
    """What an aggregator knows of itself when it moves its model."""

    population: int
    """Devices below it, whether or not they took part; never fewer than have."""
    round: int
    """How many moves it made before."""
    lane: int = 0
    """In semi-async mode: the speed class that reports, 0 the fastest."""
    lanes: int = 1
    """Speed classes in all."""
    job_round: int = 0
    """Of the job, counted from 0; other than moves, rounds that came to nothing count."""
    spec: Spec = Spec(())  # noqa: RUF009 - it is frozen
    """Names and places of the parameters in the model (P,), as the runtime knows them when it calls a hook."""


class Algorithm(LocalMethod, Parametrised):
    """The hooks of a method, at FedAvg's values."""

    private: tuple[str, ...] = field(default=(), kw_only=True)
    """Patterns of names (``("head.*",)``): each device has entries of its own under them, which it trains, keeps and is
    judged with. They are in nothing that is sent, and no vector that hooks see has them."""

    mode: ClassVar[Mode] = "sync"
    """Mode of a tier that names none."""
    group_models: ClassVar[bool] = False
    """Whether a fog must form its own group's mean even when it makes one round per parent round (else its
    sum is merged upward as it is, which is exact)."""
    buffer: ClassVar[int | None] = 1
    """Asynchronous mode: reports per move, where the tier names no number. None: three in ten of the children that
    train at once, at least 2 and at most 10."""
    columnwise: ClassVar[bool] = True
    """Whether an aggregator's hooks treat every number for itself, so that a large model may be worked on in blocks.
    An heir that leaves them as they are is as its parent is; one that overrides any says it itself, or it is not so:
    there may be a norm in its ``server_update``."""
    linear: ClassVar[bool] = True
    """Whether a model is a linear function of all that was folded. Noise that cancels out over rounds wants that.
    An heir with a ``server_update`` of its own says it itself, or it is not so."""
    local_defaults: ClassVar[Mapping[str, Any]] = {}
    """Settings of local training (by field of ``LocalTraining``) that belong to the method."""
    inner_rounds: ClassVar[bool] = True
    """Whether a fog may make rounds of its own between two of its parent."""
    global_model: ClassVar[bool] = True
    """Whether the root's model is what is learned. Not where each device keeps a model of its own: then devices alone
    judge, and nothing is published."""
    fine_tune_epochs: ClassVar[int] = 0
    """For how many epochs a device fine-tunes before it judges, where the job does not say it; 0: not at all."""
    own_names: ClassVar[bool] = False
    """Whether each device sends under a name of its own, so that the root sees what every single one sent. A rule that
    needs all updates at once would have nothing to compare, and is refused."""
    own_prefix: ClassVar[str] = ""
    """How the names begin under which a device sends, if ``device.name`` is the rest of each: who is above devices
    refuses what stands under another's. Empty: names say nothing of who sends."""
    alike: ClassVar[bool] = True
    """Whether all devices send the same names. Exchanges want that: they add up what nobody looks at."""
    movement_only: ClassVar[bool] = True
    """Whether devices report the movement of the model and nothing beside it, so that a clip bounds all of it. An heir
    that overrides ``report`` says it itself, or it is not so."""
    adds_changes: ClassVar[bool] = False
    """Whether it adds up what devices send, which must be changes since their last messages: then a stage that makes
    these stands on their uplink."""
    static_statistics: ClassVar[bool] = False
    """Whether running statistics of batch normalisation are taken from no update, but measured by a pass over devices'
    data where a model is judged or handed out."""
    effort_cuts: ClassVar[bool] = False
    """Whether a device that is asked for part of a round's work trains a smaller model, as its ``sub_models`` are
    (and not only fewer steps)."""
    needs_public: ClassVar[bool] = False
    """Whether the data must have a public part."""
    movement: ClassVar[str] = "delta"
    """Name of the term that moves the model, whose weight is a device's weight in it; or a pattern (``delta-*``), where
    a device moves one of several models; empty where nothing that devices send does."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "columnwise" not in vars(cls):
            cls.columnwise = _leaves_aggregators_alone(cls)
        parents = [base for base in cls.__bases__ if issubclass(base, Algorithm)]
        if "linear" not in vars(cls):
            cls.linear = any(base.linear and cls.server_update is base.server_update for base in parents)
        if "movement_only" not in vars(cls) and all(cls.report is not base.report for base in parents):
            cls.movement_only = False

    def check_local(self, local: LocalSettings) -> None:
        """Refuse, before the run, local training for which the method's formulas do not hold.

        Raises:
            ValueError: one sentence that names the setting, and what would be right.
        """

    def looks_at_examples(self) -> bool:
        """Whether its hooks ask for a device's examples (``device.examples``) between the steps of a round.

        Such a method is refused where single examples are protected; there, one that looks all the same fails.
        """
        return False

    def private_of(self, spec: Spec) -> Collection[str]:
        """Names of the entries that each device has of its own: those that ``private`` names.

        Asked once, before the run. What is frozen stays frozen, also if it is among them.

        Raises:
            ValueError: of this model, the method can keep nothing; a sentence.
        """
        return spec.matching([self.private] if isinstance(self.private, str) else self.private)

    def trained_of(self, spec: Spec) -> Collection[str]:
        """Names of the entries that are part of updates and of rounds' models: by default those that train.

        Of the others, all that is no buffer is frozen, and travels once. Asked once, before the run; ``spec`` is of the
        task's model as it was made.

        Raises:
            ValueError: the method is not for this model; a sentence.
        """
        return spec.trained_names

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        """Smaller models for devices that cannot train the whole one, the largest first; by default there are none.

        A device has the first of them of which its share of the model's numbers is not less (the job's ``shares``).
        Its hooks see vectors of that; aggregators see the whole, and take each number's mean over those who have it.

        Raises:
            ValueError: of this model, none can be made; a sentence.
        """
        return ()

    def broadcast(self, state: State) -> State:
        """What an aggregator sends its children beside the model."""
        return {}

    def receive(self, group_model: Vector | None, model: Vector, state: State, received: State) -> State:
        """An inner aggregator's state when its parent's model arrives.

        ``group_model``: the model of its own group when it last reported, (P,); None the first time.
        ``received``: the parent's broadcast. The default passes the parent's vectors on to the children.
        """
        return state | received

    def report(self, device: DeviceContext) -> ClientUpdate:
        """What a device sends up, and the state it keeps.

        ``device.end`` is where training ended, and ``device.plan`` what was done.
        """
        return ClientUpdate({"delta": Weighted(device.end - device.start, float(device.plan.samples))}, device.local)

    def judge(self, device: DeviceContext) -> Vector:
        """The weights (P,) that a device is judged with, where models are judged on devices.

        ``device.model`` is the model that is judged, ``device.local`` what the device keeps.
        """
        return device.model

    def judged_outputs(self, outputs: Vector, examples: Examples, device: DeviceContext) -> Vector:
        """The outputs (n, ..., classes) that a device is judged by, where models are judged on devices.

        ``outputs`` are those of the model that is judged, which is ``device.model``, for ``examples``; what the device
        trains on is ``device.examples``.
        """
        return outputs

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        """The next model of an aggregator, and its next state."""
        return model + folded.mean("delta"), state

    def inner_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        """The same for an inner aggregator between two parent rounds; by default plain averaging."""
        return model + folded.mean("delta"), state

    def evaluation_model(self, model: Vector, state: State) -> Vector:
        """The root's model as it is judged and handed out; by default the one that training goes on from."""
        return model

    def group_update(
        self, start: Vector, delta: Vector, weight: Weight, totals: dict[str, Weighted]
    ) -> dict[str, Weighted]:
        """What an inner aggregator sends up after several rounds of its own.

        ``start``: the parent's model, (P,); ``delta``: how far its own moved from there in all; ``weight``: of
        ``movement`` in one of its rounds; ``totals``: per name, the means of its rounds added up, with the
        weight of one round, so that vector times weight is all that its devices reported.
        """
        return totals | {"delta": Weighted(delta, weight)}

    def staleness_weight(self, staleness: int) -> float:
        """Factor on an update that is that many versions old (FedAsync's polynomial, exponent one half)."""
        return (1.0 + staleness) ** -0.5


DEVICE_HOOKS = (
    "check_local",
    "looks_at_examples",
    "trained_of",
    "private_of",
    "sub_models",
    "work",
    "prepare",
    "begin",
    "adjust_gradient",
    "perturb",
    "adjust_outputs",
    "adjust_loss",
    "step_models",
    "taught_loss",
    "phases",
    "fine_tune",
    "local_round",
    "report",
    "judge",
    "judged_outputs",
)
"""What a method may override without a change to what its aggregators do."""
SCALARS = ("staleness_weight",)
"""Hooks of aggregators that see no vector."""


def _leaves_aggregators_alone(method: type[Algorithm]) -> bool:
    """Whether a class overrides no hook of aggregators, nor what one may call, and its parents are columnwise."""
    parents = [base for base in method.__bases__ if issubclass(base, Algorithm)]
    inherited = {kind for parent in parents for kind in parent.__mro__}
    for kind in method.__mro__:  # Itself, and what is mixed in.
        for name, value in () if kind in inherited else vars(kind).items():
            is_code = callable(value) or hasattr(value, "__get__")
            free = name in DEVICE_HOOKS or name in SCALARS or name.startswith("__")
            if is_code and not free and any(hasattr(parent, name) for parent in parents):
                return False
    return all(parent.columnwise for parent in parents)
