"""The scikit-learn backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

from fogline.data import Meaning, from_arrays
from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.sklearn import SklearnTask
from tests.training.cohorts import Calibrated, Contrastive, Controlled, Normed, Proximal, Sharp, spoil

LOCAL = LocalTraining(learning_rate=0.01, batch_size=5, epochs=2)
PARTS = np.split(np.arange(90), [20, 50, 51])


def task_of(estimator: Any, classes: int | None = 3) -> SklearnTask:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, 90) if classes else rng.normal(size=90)
    x = rng.normal(size=(90, 4)) + y[:, None] * np.array([1.0, -1.0, 0.5, 0.0])
    return SklearnTask(estimator, from_arrays("linear", x, y, PARTS, classes=classes))


def train(task: SklearnTask, method: LocalMethod | None = None, rounds: int = 8) -> Any:
    engine = task.build("loop", method or LocalMethod(), LOCAL)
    params = task.initial(0)
    vector = params.vector
    for r in range(rounds):
        zeros = {"h": np.zeros_like(vector)}
        jobs = [
            ClientJob(i, vector, params.counters, LOCAL.step_count(len(p)), 0.01, 10 * r + i, zeros, {"c": zeros["h"]})
            for i, p in enumerate(PARTS)
        ]
        done = engine.train(jobs)
        assert [t.failure for t in done] == [None] * 4
        vector = np.mean([t.end for t in done], axis=0)
    return vector, done


@pytest.mark.parametrize(
    ("estimator", "classes"),
    [
        (SGDClassifier(loss="log_loss"), 3),
        (SGDClassifier(loss="hinge"), 2),
        (Perceptron(), 3),
        (SGDRegressor(), None),
    ],
)
def test_models_learn(estimator: Any, classes: int | None) -> None:
    task = task_of(estimator, classes)
    params = task.initial(0)
    examples = task.data.at(1)
    before = task.metrics(task.evaluate(params, examples))
    vector, done = train(task)
    params.vector[:] = vector
    after = task.metrics(task.evaluate(params, examples))
    better = after[task.headline] > before[task.headline]
    assert better == task.higher_is_better
    assert (task.spec.trainable == vector.size) and vector.dtype == np.float64  # noqa: PT018
    assert done[1].steps == 60  # Two passes over thirty examples, one step each.


def test_errors_are_in_the_unit_of_the_target() -> None:
    task = task_of(SGDRegressor(), None)
    sums = task.evaluate(task.initial(0), task.data.at(1))
    plain = task.metrics(sums)
    task.data.meaning = Meaning(None, target_scale=-2.0, target_unit="kWh")
    assert task.metrics(sums) == {"loss": plain["loss"], "rmse": 2 * plain["rmse"], "mae": 2 * plain["mae"]}
    assert task.units["rmse"] == "kWh"


def test_training_is_what_scikit_learn_does() -> None:
    task = task_of(SGDClassifier(loss="log_loss", shuffle=False))
    job = ClientJob(0, task.initial(0).vector, np.zeros(0, np.int64), 8, 0.01, 3)
    trained = task.build("loop", LocalMethod(), LOCAL).train([job])[0]
    by_hand = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, shuffle=False)
    from fogline.training.shuffling import batches

    examples = task.data.at(0)
    for batch in batches(3, 20, 5, 8):
        by_hand.partial_fit(examples.x[batch].astype(np.float64), examples.y[batch], classes=[0, 1, 2])
    np.testing.assert_allclose(trained.end, np.concatenate([by_hand.coef_.ravel(), np.asarray(by_hand.intercept_)]))


def test_affine_adjustments_are_applied_once_per_example() -> None:
    class Pushed(LocalMethod):
        affine = True

        def adjust_gradient(self, gradient, weights, start, local, received):
            return gradient + received["c"]

    task = task_of(SGDRegressor(alpha=0.0), None)
    start = task.initial(0).vector
    push = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    jobs = [ClientJob(2, start, np.zeros(0, np.int64), 1, 0.01, 0, {}, {"c": c}) for c in (0 * push, push)]
    plain, pushed = task.build("loop", Pushed(), LOCAL).train(jobs)
    np.testing.assert_allclose(plain.end - pushed.end, 0.01 * push)
    train(task, Controlled())
    near, _ = train(task, Proximal())
    assert np.isfinite(near).all()


@pytest.mark.parametrize("method", [Normed, Sharp, Calibrated, Contrastive])
def test_hooks_that_need_gradients_are_refused(method: type[LocalMethod]) -> None:
    with pytest.raises(ValueError, match="Engine 'loop' cannot run this job: the method"):
        task_of(Perceptron()).build("loop", method(), LOCAL)


@pytest.mark.parametrize(
    "setting", [{"momentum": 0.9}, {"optimizer": "adam"}, {"clip_norm": 1.0}, {"weight_decay": 0.1}]
)
def test_settings_that_it_lacks_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot run this job"):
        task_of(Perceptron()).build("loop", LocalMethod(), LocalTraining(**setting))


@pytest.mark.parametrize(
    "estimator",
    [LinearRegression(), RandomForestClassifier(), GaussianNB(), MLPClassifier(), make_pipeline(Perceptron())],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_that_cannot_learn_step_by_step_are_refused(estimator: Any) -> None:
    with pytest.raises(ValueError, match=f"{type(estimator).__name__} cannot learn step by step"):
        task_of(estimator)


def test_estimators_that_learn_otherwise_are_refused() -> None:
    with pytest.raises(ValueError, match="average=False"):
        task_of(SGDClassifier(average=True))
    with pytest.raises(ValueError, match="has no classes"):
        task_of(Perceptron(), None)


def test_a_device_fails_alone() -> None:
    task = task_of(SGDRegressor(), None)
    start = task.initial(0).vector
    spoil(task, 1, lambda examples: examples.array.__setitem__((0, 0), np.nan))
    jobs = [ClientJob(i, start, np.zeros(0, np.int64), 8, 0.01, 0) for i in range(3)]
    done = task.build("loop", LocalMethod(), LOCAL).train(jobs)
    assert [t.failure is None for t in done] == [True, False, True]
    assert done[1].failure
    assert done[1].failure.startswith("Client 'client-1': ")
