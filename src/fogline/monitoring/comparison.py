"""Several finished runs side by side: those that differ in their seed only are one line, with mean and deviation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fogline.jobs import Evaluation, Job, JobError, Tier
from fogline.monitoring.history import TargetMetric, check_target, reached
from fogline.monitoring.human import traffic
from fogline.monitoring.record import Reached, Row, RunRecord
from fogline.monitoring.run_files import RunFiles

ELSEWHERE = ("name", "seed", "engine", "chunk", "engine_compared", "engines_refused", "executor", "processes")
"""Keys of a job that do not make another experiment: what a run is called, its seed, and how it was computed."""
SHOWN_ONLY = ("checkpoint_every", "evaluation", "needs", "publish")
"""Tables that say what is kept, judged and published, and change no model; but for these keys of the second."""
JUDGED_ON = ("where", "share", "cohort", "fine_tune")
"""What the figures are of; and what devices hold out does not train."""
ENDING = ("target", "stop_at_target", "patience")
"""Where a run ends by what it reaches."""

DEFAULTS: Mapping[str, Any] = Tier().model_dump(exclude={"count"})
"""What a tier has where nothing is set."""


@dataclass(frozen=True, slots=True)
class MeanOverSeeds:
    """A figure over the seeds that have it."""

    mean: float
    deviation: float
    """Sample standard deviation over the seeds; 0 of a single one."""
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanOverSeeds | None:
        """Of these values; None if there are none."""
        if not values:
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """What a comparison needs of a run: not its model."""

    folder: str
    job: Job
    headline: str
    unit: str
    higher_is_better: bool
    value: float | None
    """The headline metric of the final model."""
    history: list[Row]
    reached: Reached | None
    """What it took to reach the target, by its history."""
    target: float | None
    baselines: Mapping[str, float]
    """The headline metric of its baselines, by name."""

    @property
    def bytes(self) -> float | None:
        """On all links, in both directions; None where nobody counted."""
        return bytes_of(self.history[-1]) if self.history else None

    def last(self, key: str) -> float | None:
        """What the last row says under a key."""
        return self.history[-1].get(key) if self.history else None


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seed only."""

    number: int
    """Its place among the groups, from 1."""
    runs: list[ComparedRun]
    settings: dict[str, Any]
    """What sets it apart from the other groups, by key."""

    @property
    def name(self) -> str:
        """What its jobs are called; of several names the first."""
        return self.runs[0].job.name

    @property
    def label(self) -> str:
        """Its number and what sets it apart."""
        given = {key: value for key, value in self.settings.items() if value is not None}
        parts = [str(v) if key == "algorithm" else f"{key.rpartition('.')[2]} {v}" for key, v in given.items()]
        return f"{self.number} {', '.join(parts) or self.name}"

    def mean(self, figure: Callable[[ComparedRun], float | None]) -> MeanOverSeeds | None:
        """A figure over the runs that have it."""
        return MeanOverSeeds.of([value for run in self.runs if (value := figure(run)) is not None])

    @property
    def baselines(self) -> list[str]:
        """Names of the baselines that any of the runs has."""
        return list(dict.fromkeys(name for run in self.runs for name in run.baselines))


def bytes_of(row: Row) -> float | None:
    """Bytes so far on all links; None where nobody counted."""
    amounts = [sum(both) for both in traffic(row).values()]
    return sum(amounts) if amounts else None


def read_run(folder: RunFiles, target: float | None = None) -> ComparedRun:
    """A finished run.

    Args:
        folder: where it lies.
        target: of the headline metric; None takes the job's own.

    Raises:
        JobError: it has not finished, another version of Fogline wrote it, or the target is none; one sentence.
    """
    result = folder.load()
    check_target(target, result.headline)
    return compared(result, str(folder.path), target)


def compared(result: RunRecord, folder: str, target: float | None = None) -> ComparedRun:
    """A result without its model; ``target`` as in :func:`read_run`."""
    goal = result.job.evaluation.target if target is None else target
    metric = TargetMetric(result.headline, result.higher_is_better)
    baselines = {name: one.value(result.headline) for name, one in result.baselines.items()}
    return ComparedRun(
        folder,
        result.job,
        result.headline,
        result.units.get(result.headline, ""),
        result.higher_is_better,
        result.value(),
        result.history,
        reached(result.history, Evaluation(target=goal), metric),
        goal,
        {name: value for name, value in baselines.items() if value is not None},
    )


def groups_of(runs: Sequence[ComparedRun]) -> list[Group]:
    """The runs, those that differ in their seed only together, in the order of the first of each.

    Raises:
        JobError: they are judged by different metrics, or one run is given twice.
    """
    headlines = {run.headline: run.folder for run in runs}
    if len(headlines) > 1:
        told = ", ".join(f"{folder} by {headline}" for headline, folder in headlines.items())
        raise JobError(f"These runs are judged by different metrics and cannot be compared: {told}.")
    settings = [_flat(run.job) for run in runs]
    together: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for i, one in enumerate(settings):
        together.setdefault(tuple(sorted((key, repr(value)) for key, value in one.items())), []).append(i)
    firsts = [settings[places[0]] for places in together.values()]
    keys = [key for key in dict.fromkeys(key for one in firsts for key in one) if _differs(key, firsts)]
    groups = [
        Group(number, [runs[i] for i in places], {key: settings[places[0]].get(key) for key in keys})
        for number, places in enumerate(together.values(), 1)
    ]
    for group in groups:
        seeds = {run.job.seed: run.folder for run in group.runs}
        if len(seeds) < len(group.runs):
            twice = next(run for run in group.runs if seeds[run.job.seed] != run.folder)
            raise JobError(
                f"{twice.folder} and {seeds[twice.job.seed]} are the same job with the same seed {twice.job.seed}; "
                "name one of them"
            )
    return groups


def curve(group: Group, key: str) -> tuple[list[float], list[MeanOverSeeds]]:
    """A number of the rows over rounds: the rounds in which every run of the group has it, and its means."""
    by_round = [
        {row["round"]: row[key] for row in run.history if math.isfinite(row.get(key, math.nan))} for run in group.runs
    ]
    rounds = sorted(set(by_round[0]).intersection(*by_round[1:]))
    return rounds, [mean for at in rounds if (mean := MeanOverSeeds.of([rows[at] for rows in by_round])) is not None]


def _flat(job: Job) -> dict[str, Any]:
    """The settings that make the experiment, by dotted key."""
    tables = job.model_dump()
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if key not in (*ELSEWHERE, *SHOWN_ONLY):
            _flatten(key, value, found)
    ends = job.evaluation.stop_at_target or job.evaluation.patience is not None
    for key in (*JUDGED_ON, *ENDING) if ends else JUDGED_ON:
        _flatten(f"evaluation.{key}", tables["evaluation"][key], found)
    return found


def _flatten(key: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _flatten(f"{key}.{name}", inner, into)
    else:
        into[_short(key)] = value


def _short(key: str) -> str:
    """A key as people write it: ``algorithm`` for its name, a tier without what stands above it."""
    if key == "algorithm.name":
        return "algorithm"
    return key.replace("tree.tiers.", "tree.")


def _differs(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs have different values. A tier that a run has not counts as one at its defaults, so that of a tree
    beside a star is shown what was set, and how many aggregators there are."""
    absent = DEFAULTS.get(key.rpartition(".")[2]) if key.startswith("tree.") else None
    return len({repr(one.get(key, absent)) for one in settings}) > 1
