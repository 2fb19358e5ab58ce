"""A linear model of scikit-learn and its federated data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_classifier

from fogline.data import Examples, FederatedData
from fogline.params import Entry, Params, Spec, Vector
from fogline.plugins import Registry
from fogline.training.context import Loss
from fogline.training.local import ClientJob
from fogline.training.metrics import CLASS_SUMS, NUMBER_SUMS
from fogline.training.task import Engine, Sums, Task

Numbers = npt.NDArray[np.float64]
ENGINES = Registry[type[Engine]]("engine", "fogline.training.sklearn.engines", first="loop")
"""Engines of the scikit-learn backend; they are written against the class below."""


class SklearnTask(Task):
    """A linear model with ``partial_fit`` (SGDClassifier, SGDRegressor, Perceptron, ...) and its data.

    The model is ``coef`` and ``intercept``, both trained, in float64, zero at the beginning. Inputs are
    flattened. The step size is the job's learning rate, constant within a round; the estimator's penalty and
    loss stay as they are.

    Args:
        estimator: copied, never changed.
        data: examples per client; classes are 0 to ``data.classes - 1``.
        name: what people call it.
        headline: the metric looked at first; accuracy or rmse where not said.
        higher_is_better: of the headline; where not said, its name tells.

    Raises:
        ValueError: the estimator is no linear model with ``partial_fit``, or averages its weights itself; or there
            is no such metric, or its name does not tell which way is better.
    """

    def __init__(
        self,
        estimator: Any,
        data: FederatedData,
        name: str = "linear",
        headline: str | None = None,
        higher_is_better: bool | None = None,
    ) -> None:
        kind = type(estimator).__name__
        if not hasattr(estimator, "partial_fit") or not hasattr(estimator, "eta0"):
            raise ValueError(
                f"{kind} cannot learn step by step at a given rate; use SGDClassifier, SGDRegressor or Perceptron."
            )
        if getattr(estimator, "average", False):
            raise ValueError(f"{kind}(average=...) keeps a second set of weights; set average=False.")
        classifies = is_classifier(estimator)
        if classifies and data.classes is None:
            raise ValueError(f"{kind} classifies, and data set '{data.name}' has no classes.")
        super().__init__(name, data, classifies, headline, higher_is_better)
        self.estimator = estimator
        self._shape = self.fresh(0.01, 0).coef_.shape
        rows = self._shape[:-1]
        self._spec = Spec.of([Entry("coef", self._shape, "float64"), Entry("intercept", rows or (1,), "float64")])

    @property
    def spec(self) -> Spec:
        """The layout of the model: ``coef`` and ``intercept``."""
        return self._spec

    def fresh(self, rate: float, seed: int) -> Any:
        """A copy of the estimator whose arrays exist; it has learned nothing that is kept."""
        estimator: Any = clone(self.estimator)
        options: dict[str, Any] = {"eta0": rate, "random_state": seed, "shuffle": False}
        if "learning_rate" in estimator.get_params():
            options["learning_rate"] = "constant"
        estimator.set_params(**options)
        x = np.zeros((1, int(np.prod(self.data.at(0).array.shape[1:]))))
        return self.learn(estimator, x, np.zeros(1, np.int64 if self.classifies else np.float64))

    def learn(self, estimator: Any, x: Numbers, y: npt.NDArray[Any]) -> Any:
        """One step per example, in order."""
        if self.classifies:
            return estimator.partial_fit(x, y, classes=np.arange(self.data.classes or 2))
        return estimator.partial_fit(x, y)

    def load(self, estimator: Any, vector: Vector) -> None:
        """Put weights into an estimator."""
        slices = self._spec.slices
        estimator.coef_ = np.array(vector[slices["coef"]], np.float64).reshape(self._shape)
        estimator.intercept_ = np.array(vector[slices["intercept"]], np.float64)

    def read(self, estimator: Any) -> Vector:
        """Take weights out of an estimator."""
        return np.concatenate([np.ravel(estimator.coef_), np.ravel(estimator.intercept_)])

    def inputs(self, x: npt.NDArray[Any]) -> Numbers:
        """Inputs (n, ...) as rows (n, features)."""
        return np.ascontiguousarray(x.reshape(len(x), -1), np.float64)

    def truth(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Targets (n,) or (n, 1) as (n,)."""
        return y.reshape(len(y)) if y.size == len(y) else y

    def initial(self, seed: int) -> Params:
        """Zeros, whatever the seed: the problems are convex."""
        return Params.zeros(self._spec)

    def losses(self, estimator: Any, x: Numbers, y: npt.NDArray[Any]) -> Numbers:
        """(n,) the loss of each example, summed over the classes' one-against-the-rest problems.

        ``log_loss`` for that loss, the perceptron's for that, the hinge for other classifiers; squared error
        for regression.
        """
        if not self.classifies:
            return np.square(estimator.predict(x) - y)
        decision = estimator.decision_function(x)
        decision = decision[:, None] if decision.ndim == 1 else decision
        columns = decision.shape[1]
        truth = (y == 1)[:, None] if columns == 1 else y[:, None] == np.arange(columns)
        margin = np.where(truth, decision, -decision)
        name = getattr(estimator, "loss", "perceptron")
        if name == "log_loss":
            return np.logaddexp(0.0, -margin).sum(1)
        return np.maximum(0.0, (0.0 if name == "perceptron" else 1.0) - margin).sum(1)

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        """Sums over examples: ``count``, ``loss``, and ``correct`` or the errors."""
        if not len(examples.y):
            return {}
        estimator = self.fresh(0.01, 0)
        self.load(estimator, params.vector)
        x, y = self.inputs(examples.array), self.truth(examples.y)
        sums = {"count": float(len(x)), "loss": float(self.losses(estimator, x, y).sum())}
        predicted = estimator.predict(x)
        if self.classifies:
            return sums | {"correct": float((predicted == y).sum())}
        error = predicted - y
        return sums | {
            "squared_error": float(np.square(error).sum()),
            "absolute_error": float(np.abs(error).sum()),
        }

    @property
    def sum_names(self) -> tuple[str, ...]:
        """Names of the sums that :meth:`evaluate` can give."""
        return CLASS_SUMS if self.classifies else NUMBER_SUMS

    def model_functions(self, job: ClientJob) -> LinearFunctions:
        """The model as functions."""
        return LinearFunctions(self)

    def engines(self) -> Mapping[str, type[Engine]]:
        """The engines of this kind of task: only the reference."""
        return ENGINES


class LinearFunctions:
    """What scikit-learn lets be seen of a model under other weights (see ``ModelFunctions``)."""

    def __init__(self, task: SklearnTask) -> None:
        self._task, self._estimator = task, task.fresh(0.01, 0)

    def outputs(self, weights: Vector, x: npt.NDArray[Any]) -> Numbers:
        """The decision function (n, ...) of a classifier, or the predictions (n,)."""
        task = self._task
        task.load(self._estimator, weights)
        name = "decision_function" if task.classifies else "predict"
        return getattr(self._estimator, name)(task.inputs(x))

    def features(self, weights: Vector, x: npt.NDArray[Any]) -> Numbers:
        """The inputs (n, features): there is one layer."""
        return self._task.inputs(x)

    def loss(
        self, weights: Vector, x: npt.NDArray[Any], y: npt.NDArray[Any], gradient: bool, own: Loss | None = None
    ) -> tuple[float, Vector | None]:
        """The mean loss.

        Raises:
            ValueError: its gradient is wanted.
        """
        if gradient:
            raise ValueError("a gradient is asked for, and scikit-learn takes its gradients out of sight")
        task = self._task
        task.load(self._estimator, weights)
        return float(task.losses(self._estimator, task.inputs(x), task.truth(y)).mean()), None
