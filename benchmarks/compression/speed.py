"""Processor time of every code, its bits and what it loses."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import zstandard
from threadpoolctl import threadpool_limits

from benchmarks.common import console, median
from fogline.network.transport.chunks import LEVEL
from fogline.network.transport.messages import PIECE
from fogline.params import Entry, Spec
from fogline.params.pieces import Extent
from fogline.stages import STAGES, LinkContext, VectorCode, make

OTHERS = ("qsgd(levels=1, bucket=512)", "eden(bits=1)", "eden(bits=2)", "eden(bits=3)", "stc(share=0.0025)")
"""Beside every code with its defaults."""


def measured(numbers: int, rounds: int) -> dict[str, dict[str, float]]:
    """By the text of a code, what is measured of it."""
    rng = np.random.default_rng(0)
    vector = rng.standard_normal(numbers) * np.exp(rng.standard_normal(-(-numbers // 5000))).repeat(5000)[:numbers]
    single, found = vector.astype(np.float32), dict[str, dict[str, float]]()
    matrix = Spec.of([Entry("matrix", (2048, numbers // 2048), "float32")])
    with threadpool_limits(1):
        for text in (*STAGES, *OTHERS):
            if isinstance(stage := make(text).fitted(matrix), VectorCode):
                found[text] = _code(stage, single, rounds)
                shown = ", ".join(f"{name} {value:.4g}" for name, value in found[text].items())
                console.print(f"{text}: {shown}", highlight=False)
    return found


def _code(stage: VectorCode, vector: np.ndarray, rounds: int) -> dict[str, float]:
    rng, extent = np.random.default_rng(1), Extent(vector.dtype, vector.size)
    parts = stage.encode(vector, rng)
    sent, _ = stage.send({"delta": vector}, {}, LinkContext())
    off = stage.receive(sent)["delta"].astype(np.float64) - vector
    gigabytes = vector.nbytes / 1e9
    return {
        "encode": gigabytes / _seconds(lambda: stage.encode(vector, rng), rounds),
        "decode": gigabytes / _seconds(lambda: stage.decode(parts, extent), rounds),
        "bits": 8 * stage.size({"delta": extent}) / vector.size,
        "zstd_bits": 8 * _compressed(b"".join(array.tobytes() for array in sent.values())) / vector.size,
        "lost": float(off @ off / np.square(vector, dtype=np.float64).sum()),
    }


def _compressed(data: bytes) -> int:
    pieces = [data[place : place + PIECE] for place in range(0, len(data), PIECE)]
    return sum(len(zstandard.ZstdCompressor(LEVEL).compress(piece)) for piece in pieces)


def _seconds(work: Callable[[], object], rounds: int) -> float:
    def once() -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    return median(once() for _ in range(rounds))
