"""How a model did on the held-out examples, one by one: what cascades are fitted on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fogline.inference.card import Scores
from fogline.inference.confidence import classes, confidence
from fogline.inference.runtimes.base import Array
from fogline.params import load_arrays, save_arrays


@dataclass(frozen=True, slots=True)
class HeldOutAnswers:
    """A model's answers on held-out examples."""

    confidence: npt.NDArray[np.float32]
    """(examples,)"""
    correct: npt.NDArray[np.bool_]
    """(examples,)"""
    labels: str
    """Digest of the true classes: two models were judged on the same examples if it is the same."""


def evaluated(scores: Scores, outputs: Mapping[str, Array], y: Array) -> HeldOutAnswers:
    """Judge a classifier's outputs by the true classes ``y`` (examples,)."""
    truth = np.ascontiguousarray(y, np.int64)
    return HeldOutAnswers(
        np.asarray(confidence(scores, outputs), np.float32),
        classes(scores, outputs) == truth,
        hashlib.sha256(truth.tobytes()).hexdigest(),
    )


def write_evaluation(path: Path, evaluation: HeldOutAnswers) -> None:
    """Write it as safetensors."""
    digest = np.frombuffer(bytes.fromhex(evaluation.labels), np.uint8)
    save_arrays(path, {"confidence": evaluation.confidence, "correct": evaluation.correct, "labels": digest})


def read_evaluation(path: Path) -> HeldOutAnswers:
    """Read what :func:`write_evaluation` wrote."""
    arrays = load_arrays(path)
    return HeldOutAnswers(arrays["confidence"], arrays["correct"].astype(np.bool_), arrays["labels"].tobytes().hex())
