"""What a module's outputs are: one tensor, several, or an object that holds the answer as ``logits``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor


def several_of(outputs: Any) -> list[Tensor]:
    """The complete answers among a module's outputs, the last one the model's: one, or those of early exits.

    ``logits``, an attribute or a key, is the answer whatever stands beside it, as in the models of Hugging Face.

    Raises:
        TypeError: there is no tensor to be found.
    """
    if isinstance(outputs, Tensor):
        return [outputs]
    answer = part_of(outputs, "logits")
    if isinstance(answer, Tensor):
        return [answer]
    parts: list[Any] = []
    if isinstance(outputs, Mapping):
        parts = list(cast("Mapping[str, Any]", outputs).values())
    elif isinstance(outputs, Sequence):
        parts = list(cast("Sequence[Any]", outputs))
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise TypeError(
            f"the model gives a {type(outputs).__name__}; it must give a tensor, several (a tuple or a dict), or an "
            "object with .logits"
        )
    return parts


def answer_of(outputs: Any) -> Tensor:
    """The model's answer: see :func:`several_of`."""
    return several_of(outputs)[-1]


def own_loss(outputs: Any, targets: Tensor) -> Tensor:
    """The loss that a module has computed itself, having been given the targets.

    Raises:
        TypeError: there is none.
    """
    loss = part_of(outputs, "loss")
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"the model gives a {type(outputs).__name__} without a loss; with loss='model' it is called with "
            "labels=... and must give an object with .loss and .logits"
        )
    return loss


def part_of(outputs: Any, name: str) -> Any:
    """An attribute or a key; None if there is neither."""
    if isinstance(outputs, Mapping):
        return cast("Mapping[str, Any]", outputs).get(name)
    return getattr(outputs, name, None)
