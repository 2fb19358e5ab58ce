"""What a lossless packing after the code would spare, of real updates."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import zstandard

from benchmarks.compression.accuracy import LOCAL, Case
from fogline import FedAvg, Task, Tier, Tree, simulate
from fogline.algorithms.base import ClientUpdate
from fogline.params import Vector
from fogline.stages import LinkContext, make
from fogline.training.context import DeviceContext

CODES = (
    "bf16",
    "int8",
    "qsgd",
    "int4",
    "eden(bits=4)",
    "eden(bits=2)",
    "top_k(share=0.01, feedback=false)",
    "stc(share=0.01, feedback=false)",
)
DEVICES, ROUNDS, EVERY = 10, 20, 9
Array = np.ndarray[Any, Any]


class Recorded(FedAvg):
    """Keeps the movements of the devices of some rounds."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        if device.round % EVERY == 0:
            _movements.append(np.array(device.end - device.start))
        return super().report(device)


_movements: list[Vector] = []


def _shuffled(array: Array) -> bytes:
    """All first bits, all second bits …"""
    bits = np.unpackbits(array.view(np.uint8).reshape(-1, array.itemsize), axis=1)
    return np.packbits(np.ascontiguousarray(bits.T)).tobytes()


def _entropy(array: Array) -> float:
    """Bytes that a perfect code of single bytes would take, which knew how frequent each is."""
    counts = np.bincount(array.view(np.uint8))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum() / 8 * array.nbytes)


PACKINGS: dict[str, Callable[[Array], float]] = {
    "zstd": lambda array: len(zstandard.compress(array.tobytes(), 3)),
    "bitshuffle_zstd": lambda array: len(zstandard.compress(_shuffled(array), 3)),
    "zlib": lambda array: len(zlib.compress(array.tobytes(), 9)),
    "entropy": _entropy,
}


def measured(cases: Sequence[Case]) -> dict[str, Any]:
    """Bits of a number by case and code, as it is and packed in each way; what that makes larger stays as it is."""
    return {case.name: _case(case) for case in cases}


def _case(case: Case) -> dict[str, dict[str, float]]:
    _movements.clear()
    simulate(
        Task(case.module, case.data(0)),
        Recorded(),
        tree=Tree(cloud=Tier(cohort=DEVICES)),
        rounds=ROUNDS,
        local={"learning_rate": case.rate, **LOCAL},
        processes=0,
        progress=False,
    )
    return {text: _code(text, _movements) for text in CODES}


def _code(text: str, movements: Sequence[Vector]) -> dict[str, float]:
    stage, numbers = make(text), sum(vector.size for vector in movements)
    sent = [stage.send({"delta": vector}, {}, LinkContext(i))[0] for i, vector in enumerate(movements)]
    arrays = [array for encoded in sent for array in encoded.values()]
    sizes = {"bits": float(sum(array.nbytes for array in arrays))}
    sizes |= {name: sum(min(pack(array), array.nbytes) for array in arrays) for name, pack in PACKINGS.items()}
    return {name: round(8 * size / numbers, 3) for name, size in sizes.items()}
