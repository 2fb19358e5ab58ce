"""The same model in fewer bits."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import onnx
import onnxruntime
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from fogline.inference.packaging.graphs import filled, halved, tidied
from fogline.inference.runtimes.base import Array
from fogline.inference.runtimes.onnx import FAILURES

VariantName = Literal["int8", "fp16"]
CALIBRATION, BATCH = 128, 16
"""Examples that show the range of values between layers, and how many are run at once."""


class VariantError(ValueError):
    """A model has no such variant; the text is a sentence."""


def variant_of(name: VariantName, graph: bytes, weights: Mapping[str, Array], inputs: Mapping[str, Array]) -> bytes:
    """A graph in fewer bits, with its weights in it.

    ``fp16``: weights in half precision, products in single: half the bytes, the speed of the original. ``int8``: where
    there are convolutions, weights and values between layers in 8 bits, with ranges from the examples; else weights
    in 8 bits, and ranges found as it runs. Weights take 7 bits of the 8, so that sums do not overflow on processors
    without instructions for them.

    Args:
        name: which.
        graph: ONNX with external weights.
        weights: of it.
        inputs: examples, by the names of the inputs.

    Raises:
        VariantError: the quantiser refuses the model.
    """
    model = filled(graph, weights)
    if name == "fp16":
        return halved(model).SerializeToString(deterministic=True)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            return _int8(model, inputs, Path(folder)).SerializeToString(deterministic=True)
        except (*FAILURES, KeyError, IndexError, AssertionError) as error:
            raise VariantError(f"The model cannot be written in 8 bits: {error}.") from error


def _int8(model: ModelProto, inputs: Mapping[str, Array], folder: Path) -> ModelProto:
    plain, small = _simplified(model, folder), folder / "small.onnx"
    if any(node.op_type == "Conv" for node in plain.graph.node):
        quantize_static(
            plain,
            small,
            _Examples(inputs),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    else:
        quantize_dynamic(plain, small, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    return tidied(onnx.load_model(small))


def _simplified(model: ModelProto, folder: Path) -> ModelProto:
    """With constants folded, so that weights which the export reshapes are weights again."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "plain.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load_model(folder / "plain.onnx")


class _Examples(CalibrationDataReader):
    """Batches of examples, one after the other."""

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self._batches = self._cut(inputs)

    def get_next(self) -> Any:
        """The next batch; None at the end."""
        return next(self._batches, None)

    @staticmethod
    def _cut(inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        count = min(CALIBRATION, *map(len, inputs.values()))
        for start in range(0, count, BATCH):
            yield {name: array[start : min(start + BATCH, count)] for name, array in inputs.items()}


@contextmanager
def _quiet() -> Generator[None]:
    """The quantiser gives its advice through the root logger itself, and nobody else does."""

    def nothing(_: logging.LogRecord) -> bool:
        return False

    root = logging.getLogger()
    root.addFilter(nothing)
    try:
        yield
    finally:
        root.removeFilter(nothing)
