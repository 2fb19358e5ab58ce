"""What a module's outputs are: one tensor, several, or an object that holds the answer as ``logits``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn


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


def mean_of(outputs: Any) -> Tensor:
    """The mean of all complete answers."""
    answers = several_of(outputs)
    return answers[0] if len(answers) == 1 else torch.stack(answers).mean(0)


def answering_by_mean(module: nn.Module) -> nn.Module:
    """The module itself, whose last answer is the mean of all from now on."""

    def averaged(_module: nn.Module, _given: Any, outputs: Any) -> Any:
        mean = mean_of(outputs)
        if isinstance(outputs, Mapping):
            named = cast("Mapping[str, Any]", outputs)
            return {**named, list(named)[-1]: mean}
        return outputs if isinstance(outputs, Tensor) else (*outputs[:-1], mean)

    module.register_forward_hook(averaged)
    return module


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
