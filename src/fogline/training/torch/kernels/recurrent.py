"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel, stack
from fogline.training.torch.steps.optimizers import Sink

LSTM = 2
"""What PyTorch calls the kind of cell."""


class _Pass(NamedTuple):
    """A layer's forward pass for one device: inputs and outputs (T, B, ...), last states, and oneDNN's notes."""

    x: Tensor
    y: Tensor
    h: Tensor
    c: Tensor
    workspace: Tensor


@kernel(nn.LSTM)
class Lstm(Kernel):
    """Long short-term memory: device by device in oneDNN's kernels, as PyTorch's own module does.

    With few examples in a batch, a product by the recurrent weights is bound by reading them. oneDNN lays them out
    once per pass, and is faster than batched products step by step, whatever their number of devices.
    """

    fresh = False  # Its backward needs its output.
    by_example = False  # oneDNN gives sums over the batch.

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        assert isinstance(module, nn.LSTM)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if module.bias else ("weight_ih", "weight_hh")
        self.layers = [[places[f"{name}_l{i}"] for name in names] for i in range(module.num_layers)]
        self.width = module.hidden_size
        self.bias = module.bias

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Time after batch, one direction, no projection, no dropout between layers; float32 on a CPU."""
        assert isinstance(module, nn.LSTM)
        plain = module.batch_first and not (module.bidirectional or module.proj_size)
        weight = module.weight_ih_l0
        runs = weight.dtype == torch.float32 and weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        return plain and runs and (module.num_layers == 1 or module.dropout == 0.0)

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """(k, B, T, d) to (k, B, T, h)."""
        if x.ndim != 4:
            raise ValueError("A recurrent layer takes sequences of vectors.")
        self._zero = x.new_zeros(x.shape[1], self.width)
        self._none = x.new_zeros(4 * self.width)
        self._kept: list[list[_Pass]] = []
        x = x.transpose(1, 2).contiguous()
        for layer in self.layers:
            kept = [self._run(steps, self._of(layer, i, weights)) for i, steps in enumerate(x)]
            self._kept.append(kept)
            x = stack([one.y for one in kept])
        return x.transpose(1, 2)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """Layer by layer, and in each back through time."""
        gradient = gradient.transpose(1, 2).contiguous()
        for layer, kept in zip(reversed(self.layers), reversed(self._kept), strict=True):
            parts = [
                self._undo(steps, one, self._of(layer, i, weights))
                for i, (steps, one) in enumerate(zip(gradient, kept, strict=True))
            ]
            gradient, *moves = (stack(part) for part in zip(*parts, strict=True))
            for place, move in zip(layer, moves, strict=False):
                sink.put(place, move)
        return gradient.transpose(1, 2)

    def _of(self, layer: list[int], client: int, weights: Sequence[Tensor]) -> list[Tensor]:
        own = [weights[place][client] for place in layer]
        return own if self.bias else [*own, self._none, self._none]

    def _run(self, x: Tensor, own: list[Tensor]) -> _Pass:
        with torch.enable_grad():  # Without, it does not keep what backward needs.
            kept = torch.ops.aten.mkldnn_rnn_layer(
                x, *own, self._zero, self._zero, False, [], LSTM, self.width, 1, self.bias, False, False, True
            )
        return _Pass(x, *kept)

    def _undo(self, gradient: Tensor, kept: _Pass, own: list[Tensor]) -> tuple[Tensor, ...]:
        """Gradients by the inputs and by the weights and biases."""
        start, kind = (self._zero, self._zero), (False, LSTM, self.width, 1, self.bias, True, False, [], False)
        return torch.ops.aten.mkldnn_rnn_layer_backward(
            kept.x, *own, *start, kept.y, kept.h, kept.c, gradient, None, None, *kind, kept.workspace
        )[:5]
