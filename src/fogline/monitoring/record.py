"""What a run leaves behind: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fogline.attributes import describe_attributes
from fogline.jobs import Job
from fogline.params import Params

__all__ = ["Reached", "Row", "RunRecord", "Spread"]

Row = dict[str, float]
"""One round: ``round``, ``seconds`` (virtual clock), ``wall`` (seconds), ``joules``, ``down/TIER`` and ``up/TIER``
(bytes so far on the links below that tier), ``train_loss``, ``updates`` (trainings that succeeded),
``devices`` (whose updates are in the round's model), ``failed`` …, and, where the model was
judged, the task's metrics (``accuracy``, ``loss`` …)."""


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


@dataclass(slots=True)
class RunRecord:
    """A finished run.

    ``metrics``: of the global model on the test set, or, where devices alone judge, on all that they hold out;
    ``fogs`` and ``devices``: the headline metric on what each fog's devices, and each device, hold out; ``held_out``:
    metrics on devices that never trained; ``counts``:
    what went wrong (``late``, ``failed``, ``dropped out``, ``abandoned`` …) and ``reasons`` the first reason of each;
    ``units``: of the metrics that have one.
    """

    job: Job
    headline: str
    params: Params
    history: list[Row]
    metrics: dict[str, float]
    fogs: Spread | None = None
    devices: Spread | None = None
    held_out: dict[str, float] = field(default_factory=dict)
    reached: Reached | None = None
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    wall: float = 0.0
    folder: Path | None = None
    units: dict[str, str] = field(default_factory=dict)
    queries: dict[str, dict[str, float]] = field(default_factory=dict)
    """What devices answered to each query of the job: sums by name; empty where too few did."""

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        name, method = self.job.name, self.job.algorithm.name
        return f"<Result '{name}': {method}, {len(self.history)} rounds; {metrics or 'not judged'}>"


describe_attributes(__name__)
