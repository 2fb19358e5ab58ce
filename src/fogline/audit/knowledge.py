"""What an adversary knows without any update, and what is more than that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.audit.findings import NotApplicableError, Rebuilt
from fogline.data import Examples, FederatedData
from fogline.data.inputs import joined
from fogline.privacy.attacks.likeness import errors, paired, psnr, ssim

Array = npt.NDArray[Any]
POOL = 256
"""Examples of others that the adversary is granted."""
MUCH_NEARER = 0.5
"""Of the best guess's squared error: what comes nearer has been read from the update (3 dB)."""
LEAST_SIDE = 3


@dataclass(frozen=True)
class Knowledge:
    """Examples of the same kind, none of which is under attack: public ones, or those of others."""

    examples: Examples

    @classmethod
    def of(cls, data: FederatedData, attacked: Collection[int], used: int | None) -> Knowledge:
        """From the test set if there is one, and from other clients.

        Args:
            data: the job's.
            attacked: clients whose examples are under attack.
            used: how many of each one's first examples train; None: all.

        Raises:
            NotApplicableError: there is nothing that is not under attack.
        """
        parts = [data.test.part(slice(POOL))] if data.test is not None else []
        for client in range(len(data.clients)):
            if sum(part.count for part in parts) >= POOL:
                break
            if client not in attacked:
                parts.append(data.at(client).part(slice(POOL)))
            elif used is not None and data.at(client).count > used:
                parts.append(data.at(client).part(slice(used, used + POOL)))
        if not parts:
            raise NotApplicableError("there are no other examples to compare a result with")
        return cls(Examples(joined([part.x for part in parts]), np.concatenate([part.y for part in parts])))

    @cached_property
    def inputs(self) -> Array:
        """(n, ...) the examples' inputs, as floating-point numbers.

        Raises:
            NotApplicableError: they are several arrays, or whole numbers.
        """
        return continuous(self.examples)

    @property
    def low(self) -> float:
        """The least number that an input has."""
        return float(self.inputs.min())

    @property
    def high(self) -> float:
        """The largest."""
        return float(self.inputs.max())

    @property
    def span(self) -> float:
        """Between them."""
        return max(self.high - self.low, 1e-12)

    def compared(self, originals: Array, rebuilt: Array) -> tuple[Rebuilt, ...]:
        """Each result beside the original that it is nearest to, the nearest pair first.

        An example counts as recovered where the result has at most half the squared error of the best that can be said
        without the update, the nearest other example or the mean of all others; and is as much nearer to it than to any
        other example, so that no likely picture counts because there are many that it may be like.

        Args:
            originals: (n, ...) what was trained on.
            rebuilt: (m, ...) of the same shape each.
        """
        guesses = np.concatenate([self.inputs, self.inputs.mean(0, keepdims=True)])
        best, other = errors(originals, guesses).min(1), errors(rebuilt, guesses).min(1)
        error = errors(originals, rebuilt)
        return tuple(
            Rebuilt(
                originals[row],
                rebuilt[column],
                psnr(originals[row], rebuilt[column], self.span),
                self._ssim(originals[row], rebuilt[column]),
                bool(error[row, column] <= MUCH_NEARER * min(best[row], other[column])),
            )
            for row, column in paired(error)
        )

    def _ssim(self, original: Array, rebuilt: Array) -> float | None:
        return ssim(original, rebuilt, self.span) if is_picture(original) else None


def is_picture(example: Array) -> bool:
    """Whether an input is (channels, height, width)."""
    return example.ndim == 3 and len(example) in (1, 3) and min(example.shape[1:]) >= LEAST_SIDE


def continuous(examples: Examples) -> Array:
    """The inputs, where they are one array of floating-point numbers.

    Raises:
        NotApplicableError: they are something else.
    """
    if not isinstance(examples.x, np.ndarray):
        raise NotApplicableError("the model takes several inputs, and the attack knows one array")
    if examples.x.dtype.kind != "f":
        raise NotApplicableError("the inputs are whole numbers (tokens, say), and the attack knows continuous ones")
    return examples.x
