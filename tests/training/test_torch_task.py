"""The PyTorch task: layouts, types, judging."""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fogline.data import Examples, Meaning
from fogline.params import Params
from fogline.training import LocalMethod, LocalTraining, Sums
from fogline.training.torch import TorchTask, models
from tests.training.cohorts import SIZES, jobs_of, task_of


class Tied(nn.Module):
    """A head that shares the embedding's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 6)
        self.head = nn.Linear(6, 5)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x))


def test_tied_weights_count_once_and_passing_buffers_not_at_all() -> None:
    task = task_of(Tied, shape=(4,), tokens=True)
    assert [e.name for e in task.spec.entries] == ["embedding.weight", "head.bias"]
    assert task.build("flat", LocalMethod(), LocalTraining()).graph is None  # type: ignore[attr-defined]


def test_batch_norm_has_buffers_and_counters() -> None:
    task = task_of(lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)))
    assert (task.spec.trainable, task.spec.floats, task.spec.integers) == (36 + 8 + 25, 36 + 8 + 25 + 8, 1)
    local = LocalTraining(batch_size=None, epochs=4)
    done = task.build("loop", LocalMethod(), local).train(jobs_of(task, local)[:2])
    assert [t.counters.tolist() for t in done] == [[4], [4]]
    assert not np.array_equal(done[0].end[task.spec.trainable :], task.initial(3).vector[task.spec.trainable :])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_trains_in_its_own_type(dtype: torch.dtype) -> None:
    task = task_of(lambda: models.mlp(8, (6,), 5).to(dtype))
    expected = np.float64 if dtype is torch.float64 else np.float32
    local = LocalTraining(batch_size=4)
    done = task.build("loop", LocalMethod(), local).train(jobs_of(task, local))
    assert all(t.failure is None and t.end.dtype == expected for t in done)
    end = torch.from_numpy(done[0].end)
    assert torch.equal(end.to(dtype).to(end.dtype), end)
    if dtype is not torch.float64:
        with pytest.raises(ValueError, match=r"Engine 'stacked' cannot run this job: it trains models that are"):
            task.build("stacked", LocalMethod(), local)


def test_frozen_parameters_do_not_train() -> None:
    def model() -> nn.Module:
        module = models.mlp(8, (6,), 5)
        module[1].weight.requires_grad_(False)
        return module

    task, local = task_of(model), LocalTraining(batch_size=4)
    for engine in ("loop", "flat", "stacked"):
        end = task.build(engine, LocalMethod(), local).train(jobs_of(task, local))[0].end
        frozen = task.spec.slices["1.weight"]
        np.testing.assert_array_equal(end[frozen], task.initial(3).vector[frozen])


def test_the_seed_makes_the_model_and_nothing_else() -> None:
    task = task_of()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    one, two, other = task.initial(1), task.initial(1), task.initial(2)
    assert torch.equal(torch.rand(2), expected)
    np.testing.assert_array_equal(one.vector, two.vector)
    assert not np.array_equal(one.vector, other.vector)


def test_what_is_loaded_is_what_is_read() -> None:
    task = task_of(lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)))
    rng = np.random.default_rng(0)
    vector = rng.normal(size=task.spec.floats).astype(np.float32)
    params = Params(task.spec, vector, np.array([7], np.int64))
    module = task.untrained()
    task.layout.load(module, params.vector, params.counters)
    read = task.layout.read(module)
    np.testing.assert_array_equal(read.vector, vector)
    np.testing.assert_array_equal(module.state_dict()["0.weight"].numpy(), params.view("0.weight"))
    assert read.counters.tolist() == [7]


def test_judging_sums_over_batches() -> None:
    task = task_of(sizes=(1300,))
    params, examples = task.initial(0), task.data.at(0)
    whole = task.evaluate(params, examples)
    parts = [task.evaluate(params, Examples(examples.x[a : a + 7], examples.y[a : a + 7])) for a in range(0, 1300, 7)]
    assert whole["count"] == 1300
    for name in whole:
        assert sum(part[name] for part in parts) == pytest.approx(whole[name], rel=1e-5)
    outputs = task.untrained()
    task.layout.load(outputs, params.vector, params.counters)
    predicted = outputs(torch.from_numpy(examples.x)).argmax(1).numpy()
    assert task.metrics(whole)["accuracy"] == pytest.approx((predicted == examples.y).mean())


def test_judging_numbers() -> None:
    task = task_of(lambda: models.mlp(8, (6,), 1), classes=None, loss="mse")
    examples = task.data.at(1)
    metrics = task.metrics(task.evaluate(task.initial(0), examples))
    assert metrics["loss"] == pytest.approx(metrics["rmse"] ** 2, rel=1e-5)
    assert 0 < metrics["mae"] <= metrics["rmse"]
    assert (task.headline, task.higher_is_better) == ("rmse", False)


def test_errors_are_in_the_unit_of_the_target_and_the_loss_as_trained() -> None:
    task = task_of(lambda: models.mlp(8, (6,), 1), classes=None, loss="mse")
    sums = task.evaluate(task.initial(0), task.data.at(1))
    plain = task.metrics(sums)
    assert task.units == {}
    task.data.meaning = Meaning(None, target_scale=125.0, target_unit="cycles")
    scaled = task.metrics(sums)
    assert scaled["loss"] == plain["loss"]
    assert scaled["rmse"] == pytest.approx(125 * plain["rmse"])
    assert scaled["mae"] == pytest.approx(125 * plain["mae"])
    assert task.units == {"rmse": "cycles", "mae": "cycles"}


def test_the_headline_says_which_way_is_better_or_it_has_to_be_said() -> None:
    class Own(TorchTask):
        def metrics(self, sums: Sums) -> dict[str, float]:
            return {"balanced_accuracy": 1.0, "surprise": 2.0}

    data = task_of().data
    assert not TorchTask(models.mlp, data, headline="loss").higher_is_better
    assert TorchTask(models.mlp, data, headline="loss", higher_is_better=True).higher_is_better
    assert Own(models.mlp, data, headline="balanced_accuracy").higher_is_better
    assert not Own(models.mlp, data, headline="surprise", higher_is_better=False).higher_is_better
    with pytest.raises(ValueError, match=r"'surprise' does not tell .* pass higher_is_better=True or False"):
        Own(models.mlp, data, headline="surprise")
    with pytest.raises(ValueError, match="There is no metric 'rmse' for task 'model'; there are loss, accuracy"):
        TorchTask(models.mlp, data, headline="rmse")


def test_judging_sequences_leaves_out_targets_without_a_truth() -> None:
    task = task_of(lambda: models.char_lstm(5, 4, 6), shape=(6,), tokens=True)
    examples = task.data.at(1)
    hidden = examples.y.copy()
    hidden[:, 3:] = -100
    assert task.evaluate(task.initial(0), examples)["count"] == examples.y.size
    half = task.evaluate(task.initial(0), Examples(examples.x, hidden))
    shown = task.evaluate(task.initial(0), Examples(examples.array[:, :3], examples.y[:, :3]))
    assert half["count"] == examples.y.size / 2
    assert half["loss"] == pytest.approx(shown["loss"], rel=1e-5)


def test_unknown_names_are_refused() -> None:
    task = task_of()
    with pytest.raises(ValueError, match=r"There is no engine 'warp' for task 'model'; there are loop, flat, stacked"):
        task.build("warp", LocalMethod(), LocalTraining())
    with pytest.raises(ValueError, match="There is no loss 'hinge'"):
        TorchTask(models.mlp, task.data, loss="hinge")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (models.mlp(), 199_210),
        (models.lenet(), 44_426),
        (models.niid_bench_cnn(1, 28), 44_426),
        (models.niid_bench_cnn(), 62_006),
        (models.leaf_cnn(10, 512), 1_663_370),
    ],
)
def test_zoo_has_the_published_sizes(module: nn.Module, count: int) -> None:
    assert sum(p.numel() for p in module.parameters()) == count


def test_zoo_runs() -> None:
    assert models.pfl_cnn()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert models.niid_bench_cnn()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert models.small_transformer(9)(torch.zeros(2, 7, dtype=torch.int64)).shape == (2, 7, 9)


def test_saved_transformers_can_be_read() -> None:
    block = ["norm1.weight", "norm1.bias", "qkv.weight", "qkv.bias", "out.weight", "out.bias"]
    block += ["norm2.weight", "norm2.bias", "up.weight", "up.bias", "down.weight", "down.bias"]
    names = ["places", "tokens.weight", *(f"blocks.0.{name}" for name in block)]
    assert list(models.small_transformer(9).state_dict()) == [
        *names, "norm.weight", "norm.bias", "head.weight", "head.bias"
    ]  # fmt: skip


class Exiting(nn.Module):
    """Gives two answers."""

    def __init__(self, by_name: bool = False) -> None:
        super().__init__()
        self.below, self.early, self.late, self.by_name = nn.Linear(8, 6), nn.Linear(6, 5), nn.Linear(6, 5), by_name

    def forward(self, x: Tensor) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.below(x))
        outputs = self.early(hidden), self.late(hidden)
        return {"early": outputs[0], "late": outputs[1]} if self.by_name else outputs


@pytest.mark.parametrize("by_name", [False, True])
def test_several_outputs_are_trained_together(by_name: bool) -> None:
    def joint(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        return (nn.functional.cross_entropy(outputs[0], targets) + nn.functional.cross_entropy(outputs[1], targets)) / 2

    local = LocalTraining(batch_size=4, epochs=2)
    named, written = task_of(lambda: Exiting(by_name)), task_of(Exiting, loss=joint)
    ends = [task.build("loop", LocalMethod(), local).train(jobs_of(task, local)) for task in (named, written)]
    for one, other in zip(*ends, strict=True):
        assert one.failure is None
        np.testing.assert_array_equal(one.end, other.end)
    test = named.data.at(1)
    assert named.evaluate(named.initial(0), test)["count"] == len(test.y)
    for engine in ("flat", "stacked"):
        done = named.build(engine, LocalMethod(), local).train(jobs_of(named, local))
        for one, other in zip(ends[0], done, strict=True):
            np.testing.assert_allclose(one.end, other.end, atol=1e-6)
            assert one.loss == pytest.approx(other.loss, rel=1e-5)
        for task in (written, task_of(lambda: Answers(7, 5))):
            with pytest.raises(ValueError, match="several of one shape by cross_entropy of labels; this one gives oth"):
                task.build(engine, LocalMethod(), local)


def test_a_method_that_changes_the_output_needs_one() -> None:
    class Bending(LocalMethod):
        def adjust_outputs(self, outputs: Tensor, batch: object, device: object) -> Tensor:
            return outputs

    with pytest.raises(ValueError, match="its method changes outputs that are one tensor; this model gives several"):
        task_of(Exiting).build("loop", Bending(), LocalTraining())


def test_cost_counts_the_forward_pass() -> None:
    task = task_of(lambda: models.mlp(8, (16, 12), 5), sizes=SIZES)
    assert task.cost == pytest.approx(6e-6 * task.spec.trainable)  # The floor, biases counted.
    image = task_of(lambda: models.lenet(1, 5), shape=(1, 28, 28))
    assert image.cost > 10 * 6e-6 * image.spec.trainable / 5  # A convolution uses its weights many times.


def test_the_face_does_not_import_pytorch() -> None:
    code = "import sys, fogline.training; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_here_is_named() -> None:
    with pytest.raises(ValueError, match="'cuda:1', and PyTorch finds no GPU here"):
        task_of(device="cuda:1")


@pytest.mark.parametrize("device", ["gpu", "", "mps", "cuda:x"])
def test_a_device_that_is_none_is_named(device: str) -> None:
    with pytest.raises(ValueError, match=rf"^device is '{device}'; write 'cpu', 'cuda'"):
        task_of(device=device)


class Answers(nn.Module):
    """Several outputs of a linear layer each."""

    def __init__(self, *classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, many) for many in classes)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


def test_the_mean_of_several_outputs_is_judged_where_it_is_wanted() -> None:
    answers: tuple[Literal["last", "mean"], ...] = ("last", "mean")
    for answer in answers:
        task = task_of(lambda: Answers(5, 5, 5), answer=answer)
        params, examples = task.initial(0), task.data.at(0)
        module = task.untrained()
        task.layout.load(module, params.vector, params.counters)
        with torch.no_grad():
            outputs = module(task.inputs(examples.array))
            served = task.as_served(module)(task.inputs(examples.array))
        right = torch.stack(outputs).mean(0) if answer == "mean" else outputs[-1]
        assert torch.equal(served[-1], right)
        assert all(map(torch.equal, served[:-1], outputs[:-1]))
        correct = int((right.argmax(1).numpy() == examples.y).sum())
        assert task.evaluate(params, examples)["correct"] == correct


@pytest.mark.parametrize("classes", [(5,), (4, 5)])
def test_a_mean_of_one_output_or_of_unlike_ones_is_refused(classes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="answer='mean' wants several outputs of one shape, and the model gives"):
        task_of(lambda: Answers(*classes), answer="mean").check()
