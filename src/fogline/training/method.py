"""What an engine must know of an algorithm: how it adjusts a local step.

The hooks are pure functions of arrays. They work on the last axis: an engine may call them with one client's
vectors (P,) or with a stacked cohort's (K, P), where P counts the trainable parameters. They use only operators
and methods that numpy arrays and PyTorch tensors share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from fogline.params import State, Vector

Array = Any
"""A numpy array or a tensor of the backend, on the engine's device."""

Arrays = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LocalWork:
    """What a device did in a round, for the hooks that close it."""

    samples: int
    steps: int
    learning_rate: float
    trainable: int
    """Length of the trainable head of the vectors."""


class LocalMethod:
    """Plain local training: every hook at its neutral element.

    An engine looks at which hooks a subclass overrides (:func:`overrides`) and takes the faster path where
    one is left alone.
    """

    affine: ClassVar[bool] = False
    """Declares that ``adjust_gradient`` is ``gradient + a * weights + b`` with a and b free of both (a scalar
    or per parameter), so that engines may fuse it: b is read at zero gradient and zero weights, a from
    weights of one."""

    def prepare(self, start: Vector, local: State, received: State, targets: npt.NDArray[Any]) -> State:
        """The device's state before training (numpy; (floats,) vectors). ``targets``: its labels."""
        return local

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        """The gradient that the optimizer sees, (..., P)."""
        return gradient

    def perturb(self, weights: Array, gradient: Array) -> Array:
        """Where the gradient is taken, (..., P), if not at the weights (sharpness-aware methods)."""
        return weights

    def adjust_outputs(self, outputs: Array, local: Arrays) -> Array:
        """The model's outputs (B, classes) before the loss; ``local`` holds one client's state."""
        return outputs

    def adjust_loss(
        self,
        loss: Array,
        features: Array,
        features_of: Callable[[Array], Array],
        start: Array,
        local: Arrays,
    ) -> Array:
        """The loss of one client's batch (a scalar tensor).

        ``features`` (B, d) is the representation under the current weights: the input of the model's last
        linear layer. ``features_of(weights)`` gives it, without gradient, under other trainable weights (P,).
        """
        return loss


def overrides(method: LocalMethod, hook: str) -> bool:
    """Whether an algorithm adjusts that hook."""
    kind = type(getattr(method, "watched", method))  # An engine's view of a method overrides them all.
    return getattr(kind, hook) is not getattr(LocalMethod, hook)
