"""Plain layers in numpy: for models of a few small products, calling anything larger costs more than they do."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fogline.inference.card import Card, Dense, Units
from fogline.inference.runtimes.base import Array, Locate, ModelError, Run
from fogline.inference.runtimes.files import arrays_of

Floats = npt.NDArray[np.float32]
ZERO, HALF = np.float32(0), np.float32(0.5)


class DenseRuntime:
    """The layers of ``card.dense``, in float32. An input of any shape is flattened.

    Args:
        card: of the version.
        locate: where its files lie.
        threads: that a product may use; numpy has one such setting for the whole process, and the last one counts.

    Raises:
        ModelError: the card has no plain layers, or the weights do not fit them.
    """

    def __init__(self, card: Card, locate: Locate, threads: int = 1) -> None:
        if not card.dense or card.weights is None:
            raise ModelError(f"Model '{card.model}' is not made of plain layers.")
        self.name = "dense"
        self.stages: Sequence[Run] = ()
        self._input, self._output = card.inputs[0].name, card.outputs[0].name
        weights = arrays_of(card.weights, locate, "weights")
        self._layers = _layers(card.dense, weights, card.units)
        self._features = len(self._layers[0].weight)
        limit_products(threads)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :class:`fogline.inference.runtimes.base.Runtime`."""
        x = inputs.get(self._input)
        if x is None:
            raise ModelError(f"Input '{self._input}' is missing.")
        if x.dtype != np.float32:
            raise ModelError(f"Input '{self._input}' is {x.dtype}; the model takes float32.")
        if x.ndim > 2:
            x = x.reshape(len(x), math.prod(x.shape[1:]))
        if x.ndim != 2 or x.shape[1] != self._features:
            raise ModelError(
                f"Input '{self._input}' has shape {list(x.shape)}; the model takes {self._features} numbers an example."
            )
        layers = self._layers
        if not layers:
            raise ModelError("The model is closed.")
        for weight, bias, activate in layers:
            x = np.dot(x, weight)
            np.add(x, bias, out=x)
            if activate is not None:
                x = activate(x)
        return {self._output: x}

    def close(self) -> None:
        """Let go of its memory."""
        self._layers = []


class _Layer(NamedTuple):
    weight: Floats
    """(inputs, outputs): the faster way round for batches."""
    bias: Floats
    activate: Callable[[Floats], Floats] | None


def _layers(dense: tuple[Dense, ...], weights: Mapping[str, Array], units: Units | None) -> list[_Layer]:
    layers: list[_Layer] = []
    for layer in dense:
        weight = np.atleast_2d(_floats(weights, layer.weight)).T
        bias = _floats(weights, layer.bias).copy() if layer.bias else np.zeros(weight.shape[1], np.float32)
        if weight.ndim != 2 or bias.shape != weight.shape[1:]:
            raise ModelError(f"Tensors '{layer.weight}' and '{layer.bias}' do not make a layer.")
        if layers and len(weight) != len(layers[-1].bias):
            raise ModelError(
                f"Tensor '{layer.weight}' takes {len(weight)} inputs; the layer below it has {len(layers[-1].bias)}."
            )
        if layer.activation == "pair":
            weight, bias = _pair(weight), _pair(bias[None])[0]
        layers.append(_Layer(np.array(weight, order="C"), bias, ACTIVATIONS.get(layer.activation)))
    if units is not None:
        layers[-1] = _scaled(layers[-1], units)
    return layers


def _floats(weights: Mapping[str, Array], name: str) -> Floats:
    if name not in weights:
        raise ModelError(f"The card names tensor '{name}', which the weights do not hold.")
    return np.asarray(weights[name], np.float32)


def _pair(column: Floats) -> Floats:
    if column.shape[1] != 1:
        raise ModelError(f"A layer that scores a pair of classes has one output, not {column.shape[1]}.")
    return np.hstack([np.zeros_like(column), column])


def _scaled(layer: _Layer, units: Units) -> _Layer:
    scale, offset = np.float32(units.scale), np.float32(units.offset)
    inner = layer.activate
    if inner is None:
        return _Layer(layer.weight * scale, layer.bias * scale + offset, None)

    def activate(x: Floats) -> Floats:
        return inner(x) * scale + offset

    return layer._replace(activate=activate)


def _relu(x: Floats) -> Floats:
    return np.maximum(x, ZERO, out=x)


def _tanh(x: Floats) -> Floats:
    return np.tanh(x, out=x)


def _sigmoid(x: Floats) -> Floats:
    # By the tangent, which never overflows.
    np.multiply(x, HALF, out=x)
    np.tanh(x, out=x)
    np.multiply(x, HALF, out=x)
    return np.add(x, HALF, out=x)


def _softmax(x: Floats) -> Floats:
    np.subtract(x, x.max(1, keepdims=True), out=x)
    np.exp(x, out=x)
    return np.divide(x, x.sum(1, keepdims=True), out=x)


ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "relu": _relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}


def limit_products(threads: int) -> None:
    """Let numpy's products use so many threads in this process; nothing where numpy has another library than OpenBLAS.

    It is set once, when a model is opened: a call per product would cost as much as a small product.
    """
    library = _openblas()
    if library is not None:
        library.scipy_openblas_set_num_threads64_(threads)


@cache
def _openblas() -> ctypes.CDLL | None:
    """The library that numpy's own wheels bring."""
    assert np.__file__ is not None
    found = sorted((Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*"))
    return ctypes.CDLL(str(found[0])) if found else None
