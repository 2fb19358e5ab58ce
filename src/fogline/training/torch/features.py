"""A model's representation of its input: what goes into its last linear layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fogline.training.context import NO_FEATURES


class Features:
    """Catches the input of a module's last linear layer whenever the module is called."""

    def __init__(self, module: nn.Module) -> None:
        self._caught: Tensor | None = None
        for layer in module.modules():  # The one that is called last leaves its input behind.
            if isinstance(layer, nn.Linear):
                layer.register_forward_pre_hook(self._catch)

    def _catch(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._caught = inputs[0]

    def taken(self) -> Tensor | None:
        """The representation in the last call, with its gradient; None where no linear layer was called."""
        caught, self._caught = self._caught, None
        return caught


def features_of(tap: Tensor | None) -> Tensor:
    """What was caught.

    Raises:
        ValueError: nothing was.
    """
    if tap is None:
        raise ValueError(NO_FEATURES)
    return tap
