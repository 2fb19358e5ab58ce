"""scikit-learn's linear models: a product, written as plain layers and as a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fogline.inference.card import Dense, Tensor, Units
from fogline.inference.packaging.graphs import external, scaled
from fogline.inference.packaging.original import INPUT, OUTPUT
from fogline.inference.runtimes.base import Array
from fogline.inference.runtimes.outputs import named
from fogline.params import Params
from fogline.training.sklearn import SklearnTask

OPSET, IR = 20, 10


class SklearnOriginal:
    """Scores of a classifier, one column a class, or numbers (n, 1). It is served in float32, learned in float64.

    A classifier of two classes has one score z; its columns are (0, z), so that their softmax is what the logistic
    loss was trained on.
    """

    def __init__(self, task: SklearnTask, params: Params, units: Units | None) -> None:
        self._task, self._units = task, units
        self._estimator = task.fresh(0.01, 0)
        task.load(self._estimator, params.vector)
        self._entries = params.spec.entries
        x = task.data.at(0).array
        self.input = Tensor(INPUT, "FP32", (-1, *x.shape[1:]))
        self._pair = task.classifies and self._entries[0].shape[0] == 1
        self.dense = (Dense("coef", "intercept", "pair" if self._pair else ""),)
        self.outputs = (Tensor(OUTPUT, "FP32", (-1, self._raw(x[:1]).shape[1])),)

    def feed(self, x: Array) -> Array:
        """See :class:`fogline.inference.packaging.original.Original`."""
        return x.astype(np.float32, copy=False)

    def run(self, x: Array) -> dict[str, Array]:
        """See :class:`fogline.inference.packaging.original.Original`."""
        outputs = named(self._raw(x), [OUTPUT], self._units)
        return {name: array.astype(np.float32) for name, array in outputs.items()}

    def _raw(self, x: Array) -> Array:
        rows, estimator = self._task.inputs(x), self._estimator
        if not self._task.classifies:
            return estimator.predict(rows).reshape(len(rows), -1)
        scores = estimator.decision_function(rows)
        return np.stack([np.zeros_like(scores), scores], 1) if self._pair else scores

    def graph(self) -> ModelProto:
        """See :class:`fogline.inference.packaging.original.Original`."""
        initializers = [external(e.name, TensorProto.DOUBLE, e.shape) for e in self._entries]
        features = int(np.prod(self.input.shape[1:]))
        initializers.append(numpy_helper.from_array(np.array([-1, features]), "rows"))
        nodes = [
            helper.make_node("Cast", ["coef"], ["narrow"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["intercept"], ["bias"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["narrow", "rows"], ["weight"]),
            helper.make_node("Flatten", [INPUT], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["score" if self._pair else OUTPUT], transB=1),
        ]
        if self._pair:
            initializers.append(numpy_helper.from_array(np.array([[0, 1]], np.float32), "second"))
            nodes.append(helper.make_node("Mul", ["score", "second"], [OUTPUT]))
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *self.input.shape[1:]])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", *self.outputs[0].shape[1:]])],
            initializers,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="fogline"
        )
        return model if self._units is None else scaled(model, self._units)


def original(task: SklearnTask, params: Params, names: Sequence[str], units: Units | None) -> SklearnOriginal:
    """See :func:`fogline.inference.packaging.original.original_of`; a linear model has one output."""
    del names
    return SklearnOriginal(task, params, units)
