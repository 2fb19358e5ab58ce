"""What the parts of `benchmarks.accuracy` share: cells, runs that resume, and readings of their histories."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fogline
from benchmarks.common import ROOT, SCRATCH, console
from fogline.monitoring.folder import RunFolder
from fogline.simulation.run import run
from fogline.training import Task

STATE = SCRATCH / "accuracy"
HEADLINE = "accuracy"

Figures = dict[str, Any]
"""What a cell gives: plain values for JSON."""

Row = Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """One figure of a paper, and how to measure ours. `measure` returns at once for what is already on disk."""

    part: str
    name: str
    measure: Callable[[], Figures]


def resumable(name: str, task: fogline.Task, algorithm: str | fogline.Algorithm, **settings: Any) -> fogline.Result:
    """`fogline.simulate` in a folder named after the settings: read if it is finished, gone on with if it is not."""
    folder = STATE / f"{name}-{digest(task, algorithm, settings)}"
    if not (folder / "run.json").exists():
        return fogline.simulate(
            task, algorithm, name=name, folder=folder, evaluation=settings.pop("evaluation"), **settings
        )
    if RunFolder(folder).read_info()["status"] == "finished":
        return fogline.load_run(folder)
    console.print(f"going on with {folder.relative_to(ROOT)}", highlight=False)
    with RunFolder.reopen(folder) as kept:
        instance = None if isinstance(algorithm, str) else algorithm
        return run(kept.read_job(), task, kept, algorithm=instance)


def digest(task: Task, algorithm: str | fogline.Algorithm, settings: Mapping[str, Any]) -> str:
    """Eight characters that change with the model, the data or any setting: a changed cell reads no old run."""
    text = json.dumps([str(algorithm), settings], default=str, sort_keys=True)
    made = hashlib.sha256(text.encode())
    sample = task.data.at(0)
    for array in (task.initial(0).vector, task.data.sizes(), sample.array, sample.y):
        made.update(array.tobytes())
    return made.hexdigest()[:8]


def judged(history: Sequence[Row]) -> list[Row]:
    """The rounds after which the model was judged."""
    return [row for row in history if HEADLINE in row]


def reach(history: Sequence[Row], target: float, axis: str = "round") -> float | None:
    """Where the best-so-far curve crosses the target, interpolated linearly as McMahan et al. do; None if nowhere."""
    place = best = 0.0
    for row in judged(history):
        if row[HEADLINE] >= target:
            share = (target - best) / (row[HEADLINE] - best) if place else 1.0
            return place + share * (row[axis] - place)
        if row[HEADLINE] > best:
            best = row[HEADLINE]
        place = row[axis]
    return None


def best_accuracy(history: Sequence[Row]) -> float:
    return max((row[HEADLINE] for row in judged(history)), default=math.nan)


def pace(results: Sequence[fogline.Result]) -> float:
    """Wall seconds per root round, judging included."""
    rounds = sum(len(result.history) for result in results)
    return round(sum(result.history[-1]["wall"] for result in results) / rounds, 2)


def middle(values: Sequence[float | None]) -> float | None:
    """The median, where a run that never reached its target counts as infinite; None if the median is that."""
    ordered = sorted(math.inf if value is None else value for value in values)
    at = len(ordered) // 2
    value = ordered[at] if len(ordered) % 2 else (ordered[at - 1] + ordered[at]) / 2
    return round(value, 1) if math.isfinite(value) else None


def rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 1) for value in values]


def results_file() -> Path:
    return ROOT / "benchmarks" / "results" / "accuracy.json"
