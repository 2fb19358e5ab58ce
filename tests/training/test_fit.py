"""How outputs and targets go together: axes of classes, one logit, labels without a truth, soft and several labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fogline
from fogline.algorithms.methods.fedlc import FedLC
from fogline.data import Examples, FederatedData, from_clients
from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.torch import TorchTask, models
from tests.training.cohorts import Calibrated, task_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40)


def data_of(x: Any, y: np.ndarray, classes: int | None = None) -> FederatedData:
    half = len(y) // 2
    clients = {"a": Examples(x[:half], y[:half]), "b": Examples(x[half:], y[half:])}
    return from_clients("d", clients, classes=classes, test=Examples(x, y))


def trained(task: TorchTask, engine: str = "loop", rounds: int = 3, **options: Any) -> fogline.Result:
    local = {"learning_rate": 0.3, "batch_size": 7}
    result = fogline.simulate(
        task, rounds=rounds, local=local, processes=0, progress=False, engine=engine, chunk=2, **options
    )
    assert not result.reasons
    return result


def outputs_of(task: TorchTask, result: fogline.Result, x: Any) -> Tensor:
    module = task.untrained().eval()
    task.layout.load(module, result.params.vector, result.params.counters)
    with torch.no_grad():
        return module(torch.as_tensor(x))


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
@pytest.mark.parametrize(
    ("shape", "conv"), [((7,), nn.Conv1d), ((3,), nn.Conv1d), ((4, 3), nn.Conv2d), ((2, 3, 3), nn.Conv3d)]
)
def test_classes_are_on_axis_1_as_in_pytorch(shape: tuple[int, ...], conv: Any, engine: str) -> None:
    x = RNG.normal(size=(20, 1, *shape)).astype(np.float32)
    y = np.digitize(x[:, 0], [-0.5, 0.5])
    task = TorchTask(lambda: nn.Sequential(conv(1, 8, 1), nn.ReLU(), conv(8, 3, 1)), data_of(x, y, 3))
    assert (task.class_axis, task.outputs) == (1, 3)
    result, truth = trained(task, engine), torch.from_numpy(y)
    outputs = outputs_of(task, result, x)
    assert result.metrics["loss"] == pytest.approx(F.cross_entropy(outputs, truth).item(), rel=1e-5)
    assert result.metrics["accuracy"] == pytest.approx((outputs.argmax(1) == truth).float().mean().item())
    reference = trained(task, "loop").params.vector
    np.testing.assert_allclose(result.params.vector, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [5, 9])
def test_sequences_may_have_their_classes_last(length: int) -> None:
    x = RNG.integers(0, 9, (20, length))
    tagger = lambda: nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))  # noqa: E731
    task = TorchTask(tagger, data_of(x, np.roll(x, 1, 1), 9))
    assert task.class_axis == -1, "also where there are as many places as classes"
    result = trained(task)
    outputs = outputs_of(task, result, x)
    loss = F.cross_entropy(outputs.flatten(0, 1), torch.from_numpy(np.roll(x, 1, 1)).flatten())
    assert result.metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert TorchTask(lambda: models.char_lstm(9, 4, 6), task.data).class_axis == -1


def test_where_no_trial_tells_the_axis_has_to_be_said() -> None:
    class Fixed(nn.Module):
        """Takes sequences of three only."""

        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Parameter(torch.randn(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x.unsqueeze(2) * self.places

    data = data_of(X[:, :3], RNG.integers(0, 3, (40, 3)), 3)
    with pytest.raises(fogline.JobError, match=r"outputs \(n, 3, 3\) with targets \(n, 3\).*class_axis=1"):
        trained(TorchTask(Fixed, data))
    one, other = (trained(TorchTask(Fixed, data, class_axis=axis)).metrics for axis in (1, -1))
    assert one != other
    with pytest.raises(ValueError, match="class_axis is 2"):
        TorchTask(Fixed, data, class_axis=2)


def bce(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs.reshape(-1), targets.reshape(-1).float())


HEADS: dict[str, Any] = {
    "(n, 1)": lambda: nn.Linear(4, 1),
    "(n,)": lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)),
    "flat probabilities": lambda: nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), nn.Flatten(0)),
    "probabilities": lambda: nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()),
}


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
@pytest.mark.parametrize(
    ("head", "loss", "threshold"),
    [
        ("(n, 1)", bce, 0.0),
        ("(n,)", bce, 0.0),
        ("(n, 1)", nn.BCEWithLogitsLoss(), 0.0),
        ("(n, 1)", nn.BCEWithLogitsLoss(pos_weight=torch.tensor([10.0])), 0.0),
        ("probabilities", nn.BCELoss(), 0.5),
        ("(n,)", lambda o, y: ((o - y) ** 2).mean(), 0.5),
        ("(n,)", lambda o, y: (1 - o * (2 * y - 1)).clamp_min(0).mean(), 0.0),
    ],
)
def test_one_output_is_judged_as_its_loss_decides(head: str, loss: Any, threshold: float, engine: str) -> None:
    y = (X @ np.array([3, -2, 1, 0.5]) > 0.4).astype(np.int64)
    task = TorchTask(HEADS[head], data_of(X, y, 2), loss=loss)
    result = trained(task, engine, rounds=2)
    found = outputs_of(task, result, X).reshape(-1).numpy() > threshold
    assert task.threshold == threshold
    assert result.metrics["accuracy"] == pytest.approx((found == y).mean())


@pytest.mark.parametrize("kind", [np.int64, np.bool_, np.float32])
@pytest.mark.parametrize(
    ("head", "loss"),
    [
        ("(n, 1)", bce),
        ("(n,)", nn.BCEWithLogitsLoss()),
        ("(n,)", nn.BCEWithLogitsLoss(pos_weight=torch.tensor([10.0]))),
        ("flat probabilities", nn.BCELoss()),
        ("(n,)", lambda o, y: (1 - o * (2 * y - 1)).clamp_min(0).mean()),
    ],
)
def test_two_classes_that_were_not_declared_are_no_numbers(head: str, loss: Any, kind: Any) -> None:
    y = (X @ np.array([3, -2, 1, 0.5]) > 0.4).astype(kind)
    with pytest.raises(fogline.JobError, match=r"the loss decides between them.*give the data classes=2"):
        trained(TorchTask(HEADS[head], data_of(X, y), loss=loss))
    assert set(trained(TorchTask(HEADS[head], data_of(X, y), loss=loss, headline="loss")).metrics) >= {"loss"}


@pytest.mark.parametrize(
    ("loss", "shares"),
    [
        (nn.MSELoss(), False),
        (nn.HuberLoss(), False),
        (nn.PoissonNLLLoss(), False),
        (lambda o, y: torch.maximum(0.9 * (y - o), 0.1 * (o - y)).mean(), False),
        (nn.BCEWithLogitsLoss(), True),
    ],
)
def test_numbers_that_are_0_and_1_stay_numbers_where_the_loss_meets_them(loss: Any, shares: bool) -> None:
    y = (X @ np.array([3, -2, 1, 0.5]) > 0.4).astype(np.float32)
    task = TorchTask(HEADS["(n,)"], data_of(X, np.where(y > 0, 0.75, 0.25) if shares else y), loss=loss)
    assert set(trained(task).metrics) == {"loss", "rmse", "mae"}


def test_several_labels_per_example() -> None:
    y = RNG.integers(0, 2, (40, 3))
    task = TorchTask(lambda: nn.Linear(4, 3), data_of(X, y, 2), loss=nn.BCEWithLogitsLoss())
    result = trained(task)
    found = outputs_of(task, result, X).numpy() > 0
    assert result.metrics["accuracy"] == pytest.approx((found == y).mean())


def test_several_labels_that_were_not_declared_are_no_numbers() -> None:
    y = RNG.integers(0, 2, (40, 3))
    with pytest.raises(fogline.JobError, match=r"the targets are all 0 or 1.*give the data classes=2"):
        trained(TorchTask(lambda: nn.Linear(4, 3), data_of(X, y), loss=nn.BCEWithLogitsLoss()))


@pytest.mark.parametrize(("outputs", "classes"), [(3, None), (5, 3)], ids=["not declared", "more outputs"])
def test_labels_are_judged_as_classes_where_the_loss_takes_them_as_such(outputs: int, classes: int | None) -> None:
    task = TorchTask(lambda: nn.Linear(4, outputs), data_of(X, LABELS, classes))
    result = trained(task)
    scores, truth = outputs_of(task, result, X), torch.from_numpy(LABELS)
    assert result.metrics["loss"] == pytest.approx(F.cross_entropy(scores, truth).item(), rel=1e-5)
    assert result.metrics["accuracy"] == pytest.approx((scores.argmax(1) == truth).float().mean().item())


def test_a_model_of_too_few_outputs_is_refused_before_the_run() -> None:
    for x, y, model in (
        (X, LABELS, lambda: nn.Linear(4, 2)),
        (X.reshape(40, 1, 4), RNG.integers(0, 3, (40, 4)), lambda: nn.Conv1d(1, 2, 1)),
    ):
        with pytest.raises(fogline.JobError, match=r"labels run from 0 to 2; the model has outputs for 0 to 1"):
            trained(TorchTask(model, data_of(x, y, 3)))


@pytest.mark.parametrize("classes", [3, None])
@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_soft_labels_are_trained_on_as_shares(classes: int | None, engine: str) -> None:
    shares = RNG.dirichlet(np.ones(3), 40).astype(np.float32)
    task = TorchTask(lambda: nn.Linear(4, 3), data_of(X, shares, classes))
    result = trained(task, engine)
    outputs = outputs_of(task, result, X)
    assert result.metrics["loss"] == pytest.approx(F.cross_entropy(outputs, torch.from_numpy(shares)).item(), rel=1e-5)
    assert result.metrics["accuracy"] == pytest.approx((outputs.argmax(1).numpy() == shares.argmax(1)).mean())
    np.testing.assert_allclose(result.params.vector, trained(task).params.vector, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_columns_of_labels_train_as_labels(engine: str) -> None:
    one, other = (TorchTask(lambda: nn.Linear(4, 3), data_of(X, y, 3)) for y in (LABELS, LABELS[:, None]))
    np.testing.assert_array_equal(trained(one, engine).params.vector, trained(other, engine).params.vector)


LOSSES: dict[str, tuple[Any, int]] = {
    "name": ("cross_entropy", -100),
    "object": (nn.CrossEntropyLoss(ignore_index=255), 255),
    "function": (lambda o, y: F.cross_entropy(o, y), -100),
    "function of its own": (lambda o, y: F.cross_entropy(o, y, ignore_index=255), 255),
}


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
@pytest.mark.parametrize("kind", LOSSES)
def test_labels_that_mark_no_truth_do_not_count(kind: str, engine: str) -> None:
    loss, marker = LOSSES[kind]
    y = LABELS.copy()
    y[5:27] = marker
    task = TorchTask(lambda: nn.Linear(4, 3), data_of(X, y, 3), loss=loss)
    result, known = trained(task, engine), y != marker
    outputs = outputs_of(task, result, X[known])
    truth = torch.from_numpy(y[known])
    assert task.evaluate(result.params, Examples(X, y))["count"] == known.sum()
    assert result.metrics["loss"] == pytest.approx(F.cross_entropy(outputs, truth).item(), rel=1e-5)
    assert result.metrics["accuracy"] == pytest.approx((outputs.argmax(1) == truth).float().mean().item())
    start = task.initial(0)
    built, local = task.build(engine, LocalMethod(), LocalTraining(batch_size=7)), LocalTraining(batch_size=7)
    jobs = [ClientJob(i, start.vector, start.counters, local.step_count(20), 0.3, i) for i in range(2)]
    done = built.train(jobs)
    assert [t.samples for t in done] == [5, 13], "an update weighs what has a truth"
    assert all(np.isfinite(t.loss) and t.failure is None for t in done), "batches without a truth teach nothing"


def test_a_marker_that_the_loss_does_not_know_is_refused_by_client() -> None:
    y = np.where(np.arange(40) < 3, 255, LABELS)
    with pytest.raises(fogline.JobError, match=r"labels run from 0 to 255.*the loss does not leave out 255"):
        trained(TorchTask(lambda: nn.Linear(4, 3), data_of(X, y, 3)))
    data = from_clients("d", {"ward": Examples(X, np.where(y == 255, -100, y > 1))}, classes=2)
    with pytest.raises(fogline.JobError, match=r"client 'ward': labels run from -100 to 1.*does not leave out -100"):
        trained(TorchTask(lambda: nn.Linear(4, 1), data, loss=bce))


def test_a_client_without_any_truth_fails_alone() -> None:
    data = data_of(X, np.where(np.arange(40) < 20, -100, LABELS), 3)
    task = TorchTask(lambda: nn.Linear(4, 3), data)
    start = task.initial(0)
    for engine in ("loop", "flat", "stacked"):
        jobs = [ClientJob(i, start.vector, start.counters, 2, 0.1, i) for i in range(2)]
        done = task.build(engine, LocalMethod(), LocalTraining()).train(jobs)
        assert "none of its targets has a truth" in (done[0].failure or "")
        assert done[1].failure is None


def test_methods_are_handed_the_classes_last() -> None:
    x = RNG.normal(size=(20, 1, 7)).astype(np.float32)
    task = TorchTask(lambda: nn.Conv1d(1, 5, 1), data_of(x, RNG.integers(0, 5, (20, 7)), 5))
    local, start = LocalTraining(batch_size=6), task.initial(0)
    state = {"prior": np.arange(1, 6, dtype=np.float32)}
    jobs = [ClientJob(i, start.vector, start.counters, 4, 0.3, i, local=state) for i in range(2)]
    ends = {e: task.build(e, Calibrated(), local).train(jobs)[0] for e in ("loop", "flat", "stacked")}
    for done in ends.values():
        assert done.failure is None
        np.testing.assert_allclose(done.end, ends["loop"].end, rtol=1e-4, atol=1e-6)


def test_fedlc_counts_the_labels_that_are_there() -> None:
    method = FedLC(classes=3)

    def device(targets: Any) -> Any:
        return SimpleNamespace(start=np.zeros(2, np.float32), examples=SimpleNamespace(y=np.array(targets)))

    plain = method.prepare(device([0, 1, 1, 2]))
    padded = method.prepare(device([[0, 1, -100], [1, 2, 255]]))
    np.testing.assert_array_equal(plain["margin"], padded["margin"])
    with pytest.raises(ValueError, match=r"FedLC .* wants integer labels from 0 to 2"):
        method.prepare(device([0, 7]))


COLUMN = X[:, :1]


@pytest.mark.parametrize(
    ("outputs", "y", "loss", "said"),
    [
        (3, COLUMN, "mse", r"Outputs \(n, 3\) do not fit targets \(n, 1\)"),
        (1, X, "l1", r"Outputs \(n, 1\) do not fit targets \(n, 4\)"),
        (3, COLUMN, nn.MSELoss(), r"outputs \(n, 3\) with each of the targets \(n, 1\)"),
        (1, X[:, 0], nn.HuberLoss(), r"outputs \(n, 1\) with each of the targets \(n,\)"),
        (1, X[:, 0], lambda o, y: ((o - y) ** 2).mean(), r"outputs \(n, 1\) with each of the targets \(n,\)"),
        (3, COLUMN, lambda o, y: torch.maximum(0.9 * (y - o), 0.1 * (o - y)).mean(), "headline='loss'"),
        (1, LABELS, "cross_entropy", "one output for each class"),
        (3, np.eye(3, dtype=np.int64)[LABELS], "cross_entropy", "one output for each class"),
        (3, LABELS + 0.5, "cross_entropy", "neither whole numbers nor soft labels"),
    ],
)
def test_what_would_be_taken_with_all_is_refused_by_name(outputs: int, y: np.ndarray, loss: Any, said: str) -> None:
    classes = 3 if y.dtype.kind == "i" else None
    with pytest.raises(fogline.JobError, match=said):
        trained(TorchTask(lambda: nn.Linear(4, outputs), data_of(X, y, classes), loss=loss))


def test_a_loss_that_means_it_may_take_several_outputs_for_a_target() -> None:
    def quantiles(outputs: Tensor, targets: Tensor) -> Tensor:
        shares = torch.tensor([0.1, 0.5, 0.9])
        return torch.maximum(shares * (targets - outputs), (shares - 1) * (targets - outputs)).mean()

    task = TorchTask(lambda: nn.Linear(4, 3), data_of(X, COLUMN), loss=quantiles, headline="loss")
    assert set(trained(task).metrics) == {"loss"}


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_pixels_go_as_floats_where_the_model_wants_them(engine: str) -> None:
    pixels = RNG.integers(0, 255, (20, 1, 6, 6)).astype(np.uint8)
    model = lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3))  # noqa: E731
    ends = [
        trained(TorchTask(model, data_of(x, LABELS[:20], 3)), engine).params.vector
        for x in (pixels, pixels.astype(np.float32))
    ]
    np.testing.assert_array_equal(*ends)


def test_judging_leaves_the_examples_as_they_are() -> None:
    task = TorchTask(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)), data_of(X.copy(), LABELS, 3))
    assert task.data.test is not None
    before = task.data.test.array.copy()
    trained(task)
    np.testing.assert_array_equal(task.data.test.array, before)


@pytest.mark.parametrize(
    ("loss", "gives"),
    [(nn.CrossEntropyLoss(reduction="none"), r"a tensor \(n,\)"), (lambda outputs, targets: 1.0, "a float")],
)
def test_a_loss_that_gives_no_single_number_is_a_sentence(loss: Any, gives: str) -> None:
    with pytest.raises(ValueError, match=f"The loss gives {gives}; it must give the mean"):
        task_of(loss=loss).check()
