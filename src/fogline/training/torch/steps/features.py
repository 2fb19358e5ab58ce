"""A model's representation of its input: what goes into its last linear layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Features:
    """Catches the input of a module's last linear layer whenever the module is called.

    Raises:
        ValueError: the model has no linear layer.
    """

    def __init__(self, module: nn.Module) -> None:
        linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise ValueError(
                "The method adjusts the loss by the model's representation, the input of its last linear layer; "
                "this model has no linear layer."
            )
        self._module = module
        self._caught: Tensor | None = None
        for layer in linear:  # The one that is called last leaves its input behind.
            layer.register_forward_pre_hook(self._catch)

    def _catch(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._caught = inputs[0]

    def taken(self) -> Tensor:
        """The representation in the last call, with its gradient."""
        assert self._caught is not None
        return self._caught

    def under(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """The representation of x under other trainable weights, without gradient.

        Buffers are read from a copy, so that running means do not move.
        """
        buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        with torch.no_grad():
            functional_call(self._module, {**buffers, **weights}, (x,))
        return self.taken()
