"""What a page is told of a run: of a simulation's folder and of a job on real nodes alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from fogline.jobs import Job
from fogline.monitoring.record import Spread


class RunProgress(msgspec.Struct, frozen=True):
    """How a run stands."""

    status: str
    """``queued``, ``running``, ``finished``, ``interrupted``, ``stopped`` or ``failed``."""
    why: str = ""
    done: int = 0
    """Rounds."""
    by: str = ""
    """Who submitted it."""
    started: str | float = ""
    """When: ISO 8601, or Unix time."""


class RunSummary(msgspec.Struct, frozen=True):
    """A run, in a line."""

    name: str
    label: str
    """For people: its folder, or its id."""
    algorithm: str
    rounds: int
    seed: int
    tiers: tuple[str, ...]
    """The root first."""
    headline: str
    unit: str
    higher_is_better: bool
    progress: RunProgress
    target: float | None = None
    stoppable: bool = False
    """Whether who looks may stop it."""


class DeviceSpread(msgspec.Struct, frozen=True):
    """The headline metric over fogs or devices."""

    mean: float
    worst_decile: float
    values: Mapping[str, float]
    """By fog."""
    bins: tuple[tuple[float, int], ...]
    """Devices that fare alike: their mean, and how many."""

    @classmethod
    def of(cls, spread: Spread | None) -> DeviceSpread | None:
        """Of a result's; None where there is none."""
        return None if spread is None else cls(spread.mean, spread.worst_decile, spread.values, spread.bins)


class RunOutcome(msgspec.Struct, frozen=True):
    """What came of a finished run."""

    metrics: Mapping[str, float]
    fogs: DeviceSpread | None
    devices: DeviceSpread | None
    counts: Mapping[str, int]
    """Of mishaps."""
    reasons: Mapping[str, str]
    baselines: Mapping[str, float]


def summary_of(
    name: str,
    label: str,
    job: Job,
    progress: RunProgress,
    headline: str,
    unit: str,
    higher_is_better: bool,
    stoppable: bool = False,
) -> RunSummary:
    """A run, in a line."""
    return RunSummary(
        name=name,
        label=label,
        algorithm=job.algorithm.name,
        rounds=job.rounds,
        seed=job.seed,
        tiers=job.tree.names,
        headline=headline,
        unit=unit,
        higher_is_better=higher_is_better,
        progress=progress,
        target=job.evaluation.target,
        stoppable=stoppable,
    )


def settings_of(job: Job) -> dict[str, Any]:
    """The resolved job as dotted keys and plain values, so that two can be held against each other key by key."""
    found: dict[str, Any] = {}
    _flatten("", job.model_dump(mode="json"), found)
    return found


def _flatten(key: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for name, inner in cast("dict[str, Any]", value).items():
            _flatten(f"{key}.{name}" if key else name, inner, into)
    else:
        into[key] = value
