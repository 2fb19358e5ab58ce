"""How fast updates fold, against a plain in-place addition of the same bytes.

``python -m benchmarks.aggregation`` folds 1,000 updates of 10 million float32 with the ordinary fold and with
the exact one, and adds the same arrays with ``accumulator += array``, the three by turns. A few distinct
arrays are cycled, so that what is measured is the fold's memory and not the generator's; none gets the array that
another had just before, and so none finds it in the cache.

- ``relative_bandwidth``, ``exact_relative_bandwidth``: bytes of updates per second, divided by those of the
  plain addition. Medians over blocks of updates.
- ``single_thread``: the same with the folds held to one thread, as the plain addition is.
- ``peak_models``: memory at its highest over what the updates themselves take, in models; with the finished mean.

Then rules that need all updates at once combine 100 updates, which lie in files (in the page cache), and NumPy's own
median goes over the same blocks, which lie in memory, by turns.

- ``median_relative_bandwidth``, ``trimmed_relative_bandwidth``: numbers per second, divided by NumPy's.
- ``median_peak_models``: memory at its highest, in models; ``median_block_models``: what one block takes of that.
- ``median_spilled_peak_models``, ``krum_spilled_peak_models``: the same as in a simulation, where each update is in
  memory when it is taken (which counts), and waits on disk.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.common import median, report
from fogline.aggregation import ExactFold, Fold, MeanFold, Update, rows, sweep
from fogline.aggregation.gathering import as_it_is
from fogline.aggregation.rules import make_rule
from fogline.params import map_arrays, save_arrays

DISTINCT = 4


def updates_of(size: int) -> list[Update]:
    rng = np.random.default_rng(0)
    vectors = [0.01 * rng.standard_normal(size, np.float32) for _ in range(DISTINCT)]
    return [Update({"delta": vector}, {"delta": float(100 + i)}) for i, vector in enumerate(vectors)]


def timings(updates: list[Update], count: int) -> dict[str, float]:
    """Bytes per second of each, by name."""
    mean, exact = MeanFold(), ExactFold()
    plain = np.zeros_like(updates[0].vectors["delta"])

    def add(update: Update) -> None:
        np.add(plain, update.vectors["delta"], out=plain)

    contestants: dict[str, Callable[[Update], None]] = {"plain": add, "mean": mean.add, "exact": exact.add}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for fold in contestants.values():  # touches every accumulator once
        fold(updates[0])
    for i in range(count):
        for place, (name, fold) in enumerate(contestants.items()):
            before = perf_counter()
            fold(updates[(i + place) % DISTINCT])
            seconds[name].append(perf_counter() - before)
    return {name: updates[0].vectors["delta"].nbytes / median(times) for name, times in seconds.items()}


def peak_models(kind: type[Fold], updates: list[Update], count: int) -> float:
    """Memory that a fold and its mean take at most, in models."""
    tracemalloc.start()
    fold = kind()
    for i in range(count):
        fold.add(updates[i % DISTINCT])
    fold.finish().mean("delta")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / updates[0].vectors["delta"].nbytes


def peak_of(work: Callable[[], None]) -> int:
    """Bytes that it takes at most."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def rules(size: int, count: int) -> dict[str, float]:
    """How fast rules combine updates that lie in files, and the memory that they take."""
    rng = np.random.default_rng(1)
    columns = max(1, rows.BLOCK // count)
    seconds: dict[str, list[float]] = {"plain": [], "median": [], "trimmed_mean(0.1)": []}
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}" for i in range(count)]
        for path in paths:
            save_arrays(path, Update({"delta": rng.standard_normal(size, np.float32)}, {"delta": 1.0}).to_arrays())
        block = rng.standard_normal((count, columns), np.float32)

        def combine(text: str) -> None:
            fold = make_rule(text).fold(as_it_is)
            for path in paths:
                fold.add(Update.from_arrays(map_arrays(path)))
            fold.finish()

        def plain(_: str) -> None:
            for low in range(0, size, columns):
                np.median(block[:, : size - low], axis=0)

        for _ in range(3):
            for name, times in seconds.items():
                begun = perf_counter()
                (plain if name == "plain" else combine)(name)
                times.append(perf_counter() - begun)

        def simulated(text: str) -> None:
            fold = make_rule(text).fold()
            for _ in range(count):
                fold.add(Update({"delta": rng.standard_normal(size, np.float32)}, {"delta": 1.0}))
            fold.finish()

        peak = peak_of(lambda: combine("median")) / (4 * size)
        spilled = {text: peak_of(lambda text=text: simulated(text)) / (4 * size) for text in ("median", "krum(f=10)")}
    whole = median(seconds["plain"])
    return {
        "rule_updates": count,
        "rule_parameters": size,
        "median_relative_bandwidth": whole / median(seconds["median"]),
        "trimmed_relative_bandwidth": whole / median(seconds["trimmed_mean(0.1)"]),
        "median_peak_models": peak,
        "median_block_models": count * columns / size,
        "median_spilled_peak_models": spilled["median"],
        "krum_spilled_peak_models": spilled["krum(f=10)"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="40 updates instead of 1,000; the result is not saved")
    quick = parser.parse_args().quick
    size, count = 10_000_000, 40 if quick else 1000
    updates = updates_of(size)

    free = timings(updates, count)
    threads, sweep.THREADS = sweep.THREADS, 1
    alone = timings(updates, max(40, count // 10))
    sweep.THREADS = threads
    peak, few = peak_models(MeanFold, updates, count), peak_models(MeanFold, updates, count // 10)
    exact_peak = peak_models(ExactFold, updates, count)

    combined = rules(1_000_000 if quick else 10_000_000, 100)
    result: dict[str, Any] = {
        "updates": count,
        "parameters": size,
        "threads": min(sweep.THREADS, sweep.cores()),
        "bytes_per_second": free["mean"],
        "exact_bytes_per_second": free["exact"],
        "plain_bytes_per_second": free["plain"],
        "relative_bandwidth": free["mean"] / free["plain"],
        "exact_relative_bandwidth": free["exact"] / free["plain"],
        "single_thread": {
            "relative_bandwidth": alone["mean"] / alone["plain"],
            "exact_relative_bandwidth": alone["exact"] / alone["plain"],
        },
        "peak_models": max(peak, exact_peak),
        "peak_models_mean": peak,
        "peak_models_mean_of_a_tenth": few,
        **combined,
    }
    report("aggregation", result, keep=not quick)


if __name__ == "__main__":
    main()
