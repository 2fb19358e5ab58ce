"""Whether a fast engine is ever different: modules made at random, every engine against the reference.

Every module (see :mod:`benchmarks.engines.grammar`) is offered to every engine as a run would offer it. An engine that
takes it then trains two rounds of it, on other seeds than it was compared on, and so does ``loop``; where they lie
apart by more than rounding (or by more than ``loop`` from itself, from a start that was changed by rounding), it
counts as differing, and the module is printed.

Run: python -m benchmarks.engines [--modules 2000] [--seed 0] [--processes 2] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from benchmarks.common import console, median, report
from benchmarks.engines.agreement import difference, refusal_of
from benchmarks.engines.grammar import case

ENGINES = ("flat", "stacked")


def main() -> None:
    """Hold engines to modules, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="100 modules; nothing is saved")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + (100 if options.quick else options.modules))
    if options.processes <= 1:
        counts, seconds = counted(seeds)
    else:
        counts, seconds = _spread(seeds, options.processes)
    result = {"modules": len(seeds), **counts, "compared_seconds": round(median(seconds), 4)}
    report("engines", result, keep=not options.quick and options.processes > 1)


def counted(seeds: Sequence[int]) -> tuple[dict[str, int], list[float]]:
    """What became of the modules, by engine; seconds that each comparison took."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    counts: Counter[str] = Counter({"differing": 0})
    seconds: list[float] = []
    for seed in seeds:
        one = case(seed)
        counts["ordinary"] += one.ordinary
        for engine in ENGINES:
            start = time.perf_counter()
            refusal = refusal_of(one, engine)
            seconds.append(time.perf_counter() - start)
            if refusal is None:
                counts[f"{engine}_taken"] += 1
                counts[f"{engine}_taken_ordinary"] += one.ordinary
                apart = difference(one, engine)
                if apart is not None:
                    counts["differing"] += 1
                    console.print(f"[red]{engine} differs[/] by {apart}: {one.text}", markup=True)
            else:
                counts[f"{engine}_{'unlike' if 'other numbers' in refusal else 'refused'}"] += 1
                if one.ordinary:
                    console.print(f"{engine} refuses an ordinary module ({refusal}) {one.text}", markup=False)
    return dict(counts), seconds


def _spread(seeds: range, processes: int) -> tuple[dict[str, int], list[float]]:
    """The same in processes of their own, of which each does its share."""
    bounds = np.linspace(seeds.start, seeds.stop, processes + 1).astype(int).tolist()
    command = [sys.executable, "-m", "benchmarks.engines", "--processes", "1"]
    children = [
        subprocess.Popen(
            [*command, "--seed", str(low), "--modules", str(high - low)], stdout=subprocess.PIPE, text=True
        )
        for low, high in pairwise(bounds)
    ]
    counts: Counter[str] = Counter()
    seconds: list[float] = []
    for child in children:
        out, _ = child.communicate()
        if child.returncode:
            raise SystemExit(f"A part of the modules was not held: status {child.returncode}.")
        part = json.loads(out.splitlines()[-1])
        seconds.append(part.pop("compared_seconds"))
        counts.update(part)
    del counts["modules"]
    return dict(counts), seconds


if __name__ == "__main__":
    main()
