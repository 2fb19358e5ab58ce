"""Which runtime serves a model: the fastest on this node, as measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median

import numpy as np

from fogline.inference.card import Card
from fogline.inference.runtimes.base import NUMPY, Array, Locate, ModelError, Run, Runtime
from fogline.inference.runtimes.dense import DenseRuntime
from fogline.inference.runtimes.files import arrays_of
from fogline.plugins import suggest

WARM, LEAST, MOST, SECONDS = 3, 5, 200, 0.004
"""Calls before the clock counts; fewest and most that it counts; and for how long, for each runtime."""
CLEARLY = 0.9
"""A variant, which is less right, must take at most this share of the time."""
AGREEING = 0.98
"""A variant whose agreement with the model is less is taken only by name."""


@dataclass(frozen=True, slots=True)
class ChosenRuntime:
    """A runtime and what it was chosen from."""

    runtime: Runtime
    timings: Mapping[str, float]
    """Seconds of one example, median, by the name of the runtime."""
    refused: Mapping[str, str]
    """Why others could not be opened or run, by their names."""


def open_runtime(
    card: Card, locate: Locate, threads: int = 1, only: str = "", variants: bool = False, code: Path | None = None
) -> ChosenRuntime:
    """Open what the card offers, measure each on one example, and keep the fastest.

    Args:
        card: of the version.
        locate: where its files lie.
        threads: that one call may use.
        only: the runtime to take (``onnx``, ``staged``, ``dense``, ``torch``, ``onnx/int8``); empty: the fastest.
        variants: whether variants in fewer bits take part, if they lose little; how much, stands in the card.
        code: the folder with the task's code, for a model that could not be exported.

    Raises:
        ModelError: none can be opened and run, or there is none of that name.
    """
    offered = _offered(card, locate, threads, code)
    if only and only not in offered:
        raise ModelError(f"Model '{card.model}' has no runtime '{only}'{suggest(only, offered)}")
    wrong = _wrong(card) if variants else {}
    names = [only] if only else [name for name in offered if "/" not in name or (variants and name not in wrong)]
    sample, timings, refused = sample_of(card, locate), dict[str, float](), {} if only else wrong
    best: Runtime | None = None
    for name in names:
        try:
            runtime = offered[name]()
            # Zeros, of the smallest sizes, need not make sense to a model; golden samples must.
            sensible = card.golden is not None or _runs(runtime, sample)
            timings[name] = _seconds(card, runtime, sample) if sensible else inf
        except ImportError as error:
            refused[name] = f"Runtime '{name}' needs {error.name}, which is not installed here."
            continue
        except ModelError as error:
            refused[name] = str(error)
            continue
        if best is None or timings[name] < timings[best.name] * (CLEARLY if "/" in name else 1):
            best, runtime = runtime, best
        if runtime is not None:
            runtime.close()
    if best is None:
        raise ModelError(" ".join(refused.values()) or f"Model '{card.model}' has nothing that could be run.")
    return ChosenRuntime(best, timings, refused)


def _wrong(card: Card) -> dict[str, str]:
    """Variants that lose too much to be taken unasked, and how much."""
    return {
        f"onnx/{v.name}": f"Its agreement with the model is {v.agreement:.3f}; at least {AGREEING} is asked."
        for v in card.variants
        if not v.agreement >= AGREEING
    }


def _offered(card: Card, locate: Locate, threads: int, code: Path | None) -> dict[str, Callable[[], Runtime]]:
    """How to open each, by name. Their libraries are imported only then."""

    def onnx(variant: str = "", staged: bool = False) -> Runtime:
        from fogline.inference.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(card, locate, threads, variant, staged)

    def torch() -> Runtime:
        from fogline.inference.runtimes.torch import TorchRuntime

        return TorchRuntime(card, locate, code, threads)

    offered: dict[str, Callable[[], Runtime]] = {}
    if card.dense:
        offered["dense"] = lambda: DenseRuntime(card, locate, threads)
    if card.graph is not None:
        offered["onnx"] = onnx
    if card.exits is not None and card.exits.stages:
        offered["staged"] = lambda: onnx(staged=True)
    if card.code is not None and not offered:
        offered["torch"] = torch
    for variant in card.variants:
        offered[f"onnx/{variant.name}"] = lambda name=variant.name: onnx(name)
    return offered


def sample_of(card: Card, locate: Locate) -> dict[str, Array]:
    """One example: the first golden one, or zeros."""
    golden = {} if card.golden is None else arrays_of(card.golden, locate, "golden samples")
    sample: dict[str, Array] = {}
    for tensor in card.inputs:
        array = golden.get(f"input/{tensor.name}")
        shape = [1 if size == -1 else size for size in tensor.shape]
        empty = b"" if tensor.datatype == "BYTES" else 0
        try:
            sample[tensor.name] = np.full(shape, empty, NUMPY[tensor.datatype]) if array is None else array[:1]
        except (MemoryError, ValueError) as error:
            raise ModelError(f"An example of input '{tensor.name}', {shape}, is too large here.") from error
    return sample


def _runs(runtime: Runtime, sample: Mapping[str, Array]) -> bool:
    try:
        runtime.run(sample)
    except ModelError:
        return False
    return True


def _seconds(card: Card, runtime: Runtime, sample: Mapping[str, Array]) -> float:
    """Of an example; in stages, of one that leaves where the held-out examples did."""
    if card.exits is None or not runtime.stages:
        return _median(runtime.run, sample)
    values, staying, total = dict(sample), 1.0, 0.0
    for stage, share in zip(runtime.stages, card.exits.shares, strict=True):
        total += staying * _median(stage, values)
        values |= stage(values)
        staying -= share
    return total


def _median(run: Run, sample: Mapping[str, Array]) -> float:
    for _ in range(WARM):
        run(sample)
    return median(_times(run, sample))


def _times(run: Run, sample: Mapping[str, Array]) -> Iterator[float]:
    total = 0.0
    for call in range(MOST):
        if call >= LEAST and total > SECONDS:
            return
        start = time.perf_counter()
        run(sample)
        total += (took := time.perf_counter() - start)
        yield took
