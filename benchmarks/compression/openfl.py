"""OpenFL's compression, run as it is: its own pipeline makes what is sent, and its bytes are counted.

``openfl.pipelines.STCPipeline`` takes the tenth of each layer that is largest in size (its default), as signs times a
magnitude, and packs them with gzip. The magnitude is the mean over the whole layer, zeros and all: a tenth of what is
meant. There is no error feedback. With ``use_delta_updates`` what goes down is coded too, and the aggregator keeps what
others can decode. Names, shapes and tables of values, which OpenFL sends beside each layer, are not counted.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.accuracy.runs import Row, best_accuracy
from benchmarks.common import SCRATCH, console, median
from benchmarks.compression.accuracy import DEVICES, DOWN, PLAIN, UP, Case, Setting, compared, run
from fogline import FedAvg, Task
from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.params import Spec, State, Vector
from fogline.training.context import DeviceContext

PINS = ("openfl==1.9", "dynaconf==3.3.5", "tqdm==4.70.1")
FOLDER = SCRATCH / "openfl"
SETTINGS = {
    "both directions": "benchmarks.compression.openfl:OpenFl()",
    "up, values set right": "benchmarks.compression.openfl:OpenFl(down=false, scale=10.0)",
}

_up: dict[int, list[int]] = defaultdict(list)
"""Bytes of messages by round, of the run that is under way;"""
_down: dict[int, int] = {}
"""and of the aggregate."""


class OpenFl(FedAvg):
    """FedAvg whose updates go through OpenFL's pipeline."""

    share: float = 0.1
    scale: float = 1.0
    """What is received is taken so many times."""
    down: bool = True
    """Whether the aggregate goes through it too."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        moved, size = self._through(device.end - device.start, device.spec)
        _up[device.round].append(size)
        return ClientUpdate({"delta": Weighted(moved, float(device.plan.samples))}, device.local)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        moved = folded.mean("delta")
        if self.down:
            moved, _down[group.round] = self._through(moved, group.spec)
        return model + moved, state

    def _through(self, vector: Vector, spec: Spec) -> tuple[Vector, int]:
        """What comes out at the other end, layer by layer, and the bytes on the way."""
        received, size = np.zeros_like(vector), 0
        for place in spec.slices.values():
            data, metadata = _pipeline(self.share).forward(vector[place])
            received[place] = self.scale * _pipeline(self.share).backward(data, list(metadata))
            size += len(data)
        return received, size


@cache
def _pipeline(share: float) -> Any:
    """OpenFL's, in a folder of its own, which is filled the first time."""
    if not FOLDER.exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER), *PINS]
        subprocess.run(install, check=True)
    sys.path.append(str(FOLDER))
    return importlib.import_module("openfl.pipelines").STCPipeline(share)


def measured(cases: Sequence[Case], seeds: int) -> dict[str, Any]:
    """By case and setting, the medians over the seeds of what ``accuracy.measured`` gives, and ``bits`` of a number
    up; in as many rounds as float32 takes."""
    return {case.name: {name: _setting(case, method, seeds) for name, method in SETTINGS.items()} for case in cases}


def _setting(case: Case, method: str, seeds: int) -> dict[str, float]:
    found = list[dict[str, float]]()
    for seed in range(seeds):
        task = Task(case.module, case.data(seed))
        plain = run(case, task, PLAIN, seed, case.rounds)
        theirs = run(case, task, Setting(method=method), seed, case.rounds, counted=_counted)
        bits = 32 * theirs[-1][UP] / plain[-1][UP]
        found.append(compared(plain, theirs, best_accuracy(plain)) | {"bits": bits})
        console.print(f"{case.name}, seed {seed}: {method}: {found[-1]}", highlight=False)
    return {key: round(median(one[key] for one in found), 2) for key in found[0]}


def _counted(rows: Sequence[Row]) -> list[Row]:
    """With the bytes of OpenFL's messages. The first model goes down whole, later ones as differences if at all."""
    counted, whole = list[Row](), rows[0][DOWN] / rows[0]["round"]
    for row in rows:
        rounds = range(int(row["round"]))
        # A mean, since a run begins with a trial that is no message.
        up = DEVICES * sum(fmean(_up[place]) for place in rounds)
        down = sum(DEVICES * _down[place - 1] if place and _down else whole for place in rounds)
        counted.append({**row, UP: up, DOWN: down})
    _up.clear()
    _down.clear()
    return counted
