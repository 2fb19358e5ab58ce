"""What a run leaves behind: plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fogline.attributes import describe_attributes
from fogline.jobs import Job
from fogline.params import Params

__all__ = ["Baseline", "Reached", "Row", "RunRecord", "Spread"]

Row = dict[str, float]
"""One round: ``round``, ``seconds`` (virtual clock), ``wall`` (seconds), ``joules``, ``down/TIER`` and ``up/TIER``
(bytes so far on the links below that tier), ``train_loss`` (NaN where no device told one), ``updates`` (trainings that
succeeded) and ``steps`` (gradient steps that these had planned) since the round before, ``devices`` (whose updates are
in the round's model), ``epsilon`` (ε of what was given away so far of each unit, where the job has ``[privacy]``),
``failed`` …, ``metric/NAME`` (what the method's reports say, as a weighted mean), and, where the
model was judged, the task's metrics (``accuracy``, ``loss`` …)."""
METRIC = "metric/"
"""How keys of a row begin that a method's reports gave."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over devices or groups."""

    mean: float
    worst_decile: float
    """Mean over the tenth that fares worst."""
    std: float
    values: dict[str, float] = field(default_factory=dict)
    """By group; of devices, which are not named, there are bins."""
    bins: tuple[tuple[float, int], ...] = ()
    """Devices that fare alike: their mean, and how many; the worst first."""

    @property
    def count(self) -> int:
        """Devices or groups."""
        return len(self.values) or sum(devices for _, devices in self.bins)

    @property
    def numbers(self) -> list[float]:
        """A number for each device or group."""
        return list(self.values.values()) or [mean for mean, devices in self.bins for _ in range(devices)]

    @classmethod
    def of(cls, values: Mapping[str, float], higher_is_better: bool) -> Spread:
        """That of these values (one at least), by device or group."""
        ordered = sorted(values.values(), reverse=not higher_is_better)
        worst = ordered[: max(1, len(ordered) // 10)]
        mean = sum(ordered) / len(ordered)
        variance = sum((value - mean) ** 2 for value in ordered) / len(ordered)
        return cls(mean, sum(worst) / len(worst), math.sqrt(variance), dict(values))

    def __repr__(self) -> str:
        figures = f"mean {self.mean:.4g}, worst tenth {self.worst_decile:.4g}, std {self.std:.4g}"
        return f"<Spread over {self.count:,}: {figures}>"


@dataclass(frozen=True, slots=True)
class Reached:
    """What it took to reach the target of the headline metric."""

    target: float
    round: int
    seconds: float
    bytes: int
    joules: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """The same model, trained without federation with as many gradient steps as the run's devices made together."""

    name: str
    steps: int
    """Gradient steps that were made in all."""
    rounds: int
    """Of the run, whose gradient steps these are."""
    metrics: dict[str, float]
    """On the test set; where each device has a model of its own, the mean over them. Where devices alone judge, over
    all that they hold out, of each its own model. Empty if there is nothing of the kind."""
    held_out: dict[str, float] = field(default_factory=dict)
    """The same on the devices that never trained."""
    models: Spread | None = None
    """Where each device has a model of its own: the headline metric of each, on the test set, or, if there is none and
    devices do not judge, on the devices that never trained."""
    devices: Spread | None = None
    """The same where devices judge: of each model on what its own device holds out."""
    history: list[Row] = field(default_factory=list)
    """Where there is one model: ``round`` and ``seconds`` of the run in which its devices had made as many steps, and
    the metrics on the test set."""
    failures: int = 0
    """Devices that gave no model."""
    reason: str = ""
    """Of the first failure."""

    def value(self, headline: str) -> float | None:
        """The headline metric that the run's is compared with; None where nothing was trained."""
        return self.metrics.get(headline, self.held_out.get(headline))


@dataclass(slots=True)
class RunRecord:
    """A finished run.

    ``metrics``: of the global model on the test set, or, where devices alone judge, on all that they hold out;
    ``fogs`` and ``devices``: the headline metric on what each fog's devices, and each device, hold out; ``held_out``:
    metrics on devices that never trained; ``counts``:
    what went wrong (``late``, ``failed``, ``dropped out``, ``abandoned`` …) and ``reasons`` the first reason of each;
    ``units``: of the metrics that have one; ``baselines``: what the model is compared with, by name.
    """

    job: Job
    headline: str
    params: Params
    history: list[Row]
    metrics: dict[str, float]
    fogs: Spread | None = None
    devices: Spread | None = None
    common: Spread | None = None
    """Where devices are judged with a model of their own or after some training: the headline metric of the model that
    they received, on the same examples."""
    held_out: dict[str, float] = field(default_factory=dict)
    reached: Reached | None = None
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    wall: float = 0.0
    folder: Path | None = None
    units: dict[str, str] = field(default_factory=dict)
    queries: dict[str, dict[str, float]] = field(default_factory=dict)
    """What devices answered to each query of the job: sums by name; empty where too few did."""
    baselines: dict[str, Baseline] = field(default_factory=dict)
    higher_is_better: bool = True
    """Of the headline metric."""
    malicious: tuple[str, ...] = ()
    """In a simulation with an attack: who made it."""
    cut_off: dict[str, str] = field(default_factory=dict)
    """Nodes that were in quarantine, and why."""
    lost_rounds: int = 0
    """Rounds of the root that came to nothing: fewer counted than the job asked for. One that was ended before all its
    rounds has none of those that it did not begin."""
    by_cloud: bool = False
    """Whether a cloud ran it on real nodes."""

    def value(self) -> float | None:
        """The headline metric: on the test set, or, if there is none, on the devices that never trained."""
        return self.metrics.get(self.headline, self.held_out.get(self.headline))

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        name, method = self.job.name, self.job.algorithm.name
        return f"<Result '{name}': {method}, {len(self.history)} rounds; {metrics or 'not judged'}>"


def last_reported(history: Sequence[Row]) -> dict[str, float]:
    """What a method's reports said last, by the name of the metric."""
    found = {key: value for row in history for key, value in row.items() if key.startswith(METRIC)}
    return {key.removeprefix(METRIC): value for key, value in found.items()}


describe_attributes(__name__)
