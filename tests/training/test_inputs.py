"""Models of several inputs, and those that give objects: trained, judged, packaged; data sets that augment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

import fogline
from fogline.data import Examples, FederatedData, from_clients
from fogline.inference.package import package
from fogline.inference.runtimes.onnx import OnnxRuntime
from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.torch import TorchTask


class Two(nn.Module):
    """A series and a few numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4 + 2, 3)

    def forward(self, series: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        states, _ = self.lstm(series)
        return {"logits": self.head(torch.cat([states[:, -1], numbers], 1))}


class Packed(nn.Module):
    """The same of one array."""

    def __init__(self) -> None:
        super().__init__()
        self.two = Two()

    def forward(self, x: Tensor) -> Tensor:
        return self.two(x[:, :15].unflatten(1, (5, 3)), x[:, 15:])["logits"]


def two(seed: int, how: str, count: int = 20) -> Examples:
    rng = np.random.default_rng(seed)
    series, numbers = rng.normal(size=(count, 5, 3)).astype(np.float32), rng.normal(size=(count, 2)).astype(np.float32)
    y = (numbers[:, 0] > 0).astype(np.int64) + (series[:, -1, 0] > 1)
    match how:
        case "tuple":
            return Examples((series, numbers), y)
        case "dict":
            return Examples({"numbers": numbers, "series": series}, y)
        case _:
            return Examples(np.concatenate([series.reshape(count, -1), numbers], 1), y)


def data_of(how: str) -> FederatedData:
    return from_clients("two", {f"c{i}": two(i, how) for i in range(3)}, classes=3, test=two(9, how, 30))


@pytest.mark.parametrize("how", ["tuple", "dict"])
def test_several_inputs_train_as_the_same_model_of_one_array(how: str) -> None:
    task, packed = TorchTask(Two, data_of(how)), TorchTask(Packed, data_of("packed"))
    options: dict[str, Any] = {"rounds": 3, "progress": False}
    expected = fogline.simulate(packed, engine="loop", processes=0, **options)
    for processes, engine in ((0, "loop"), (2, None)):
        result = fogline.simulate(task, engine=engine, processes=processes, **options)
        assert result.job.engine == "loop"
        np.testing.assert_allclose(result.params.vector, expected.params.vector, rtol=1e-5, atol=1e-7)
        assert result.metrics == pytest.approx(expected.metrics, rel=1e-5)
    for engine in ("flat", "stacked"):
        with pytest.raises(fogline.JobError, match="this one"):
            fogline.simulate(task, engine=engine, processes=0, **options)


@dataclass
class Output:
    """As the models of Hugging Face give it."""

    loss: Tensor | None = None
    logits: Tensor | None = None


class Own(nn.Module):
    """Computes its loss itself, if it is given labels."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 6), nn.Linear(6, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Output:
        embedded = self.embedding(input_ids)
        if attention_mask is not None:
            embedded = embedded * attention_mask.unsqueeze(-1)
        logits = self.head(embedded.mean(1))
        return Output(None if labels is None else F.cross_entropy(logits, labels), logits)


def texts(seed: int, masked: bool = False) -> Examples:
    rng = np.random.default_rng(seed)
    ids, y = rng.integers(0, 20, (24, 6)), rng.integers(0, 3, 24)
    return Examples({"input_ids": ids, "attention_mask": (ids > 4).astype(np.int64)} if masked else ids, y)


@pytest.mark.parametrize("masked", [False, True])
def test_outputs_that_are_objects(masked: bool) -> None:
    data = from_clients("t", {f"c{i}": texts(i, masked) for i in range(2)}, classes=3, test=texts(9, masked))
    losses: list[Any] = ["cross_entropy", "model", lambda o, y: F.cross_entropy(o.logits, y)]
    results = [
        fogline.simulate(TorchTask(Own, data, loss=loss), rounds=2, engine="loop", processes=0, progress=False)
        for loss in losses
    ]
    for result in results:
        assert result.metrics == results[0].metrics
        np.testing.assert_array_equal(result.params.vector, results[0].params.vector)


def test_a_module_without_a_loss_cannot_train_on_its_own() -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor, labels: Tensor | None = None) -> Output:
            return Output(None, self.head(x.float()))

    data = from_clients("t", {"a": texts(0)}, classes=3)
    with pytest.raises(fogline.JobError, match="without a loss"):
        fogline.simulate(TorchTask(Silent, data, loss="model"), rounds=1, engine="loop", processes=0, progress=False)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (lambda: TorchTask(Two, data_of("tuple")), ["series", "numbers"]),
        (lambda: TorchTask(Two, data_of("dict")), ["numbers", "series"]),
        (
            lambda: TorchTask(Own, from_clients("t", {"a": texts(0)}, classes=3, test=texts(1)), loss="model"),
            ["input"],
        ),
    ],
)
def test_they_are_packaged_and_served_with_their_inputs(task: Any, names: list[str], tmp_path: Path) -> None:
    task = task()
    params = task.initial(0)
    made = package(task, params, tmp_path, "m")
    assert [tensor.name for tensor in made.card.inputs] == names
    assert made.card.metrics == pytest.approx(task.metrics(task.evaluate(params, task.data.test)))
    runtime = OnnxRuntime(made.card, lambda asset: made.files[asset.digest])
    x = task.data.test.x
    given = x if isinstance(x, dict) else dict(zip(names, x if isinstance(x, tuple) else (x,), strict=True))
    answer = runtime.run(given)[made.card.outputs[0].name]
    runtime.close()
    assert (answer.argmax(1) == task.data.test.y).mean() == pytest.approx(made.card.metrics["accuracy"])


def test_one_logit_is_packaged_as_scores_of_two_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    data = from_clients(
        "b", {"a": Examples(x, (x[:, 0] > 0).astype(int))}, classes=2, test=(x, (x[:, 0] > 0).astype(int))
    )
    for model in (nn.Linear(4, 1), nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))):
        task = TorchTask(lambda m=model: m, data, loss=nn.BCEWithLogitsLoss())
        folder = tmp_path / type(model).__name__
        folder.mkdir()
        card = package(task, task.initial(0), folder, "m").card
        assert card.scores is not None
        assert card.scores.kind == "logits"
        assert card.metrics == pytest.approx(task.metrics(task.evaluate(task.initial(0), data.test)))


class Augmented(Dataset[tuple[Tensor, int]]):
    """Noise on every example, each time it is read."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return torch.full((4,), float(place)) + torch.rand(4), place % 3


def test_augmentation_is_drawn_anew_for_every_epoch_in_every_engine() -> None:
    task = TorchTask(lambda: nn.Linear(4, 3), from_clients("a", {"x": Augmented(), "y": Augmented()}, classes=3))
    local, start = LocalTraining(batch_size=4, epochs=3), task.initial(0)
    jobs = [ClientJob(i, start.vector, start.counters, local.step_count(9), 0.01, 5 + i) for i in range(2)]
    ends: dict[str, Any] = {}
    for engine in ("loop", "flat", "stacked"):
        for caller in (1, 2):
            torch.manual_seed(caller)
            done = task.build(engine, LocalMethod(), local).train(jobs)
            assert [t.failure for t in done] == [None, None]
            assert [t.samples for t in done] == [9, 9]
            assert ends.setdefault(engine, done)[0].end.tobytes() == done[0].end.tobytes()
        np.testing.assert_allclose(ends[engine][1].end, ends["loop"][1].end, rtol=1e-4, atol=1e-6)
    # The reference by hand: an epoch reads all anew, under the seed of the device's round.
    from fogline.training.shuffling import batches

    examples, size = task.data.passes(0, 5, local.passes(jobs[0].steps))
    module = task.untrained()
    task.layout.load(module, start.vector, start.counters)
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    for step, places in enumerate(batches(5, size, 4, jobs[0].steps, stride=size)):
        assert set(places // size) == {step // 3}, "the third epoch's batches are of the third reading"
        optimizer.zero_grad()
        F.cross_entropy(
            module(torch.from_numpy(examples.array[places])), torch.from_numpy(examples.y[places])
        ).backward()
        optimizer.step()
    np.testing.assert_allclose(task.layout.read(module).vector, ends["loop"][0].end, rtol=1e-5)


ODD: dict[str, Any] = {
    "lazy": lambda: nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.LazyLinear(3)),
    "by hand": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)),
}


def test_shapes_that_are_left_open_are_those_of_an_example() -> None:
    rng = np.random.default_rng(0)
    data = from_clients("d", {"a": (rng.normal(size=(20, 4)), rng.integers(0, 3, 20))}, classes=3)
    lazy, plain = (TorchTask(ODD[name], data) for name in ("lazy", "by hand"))
    assert lazy.spec == plain.spec
    np.testing.assert_array_equal(lazy.initial(3).vector, lazy.initial(3).vector)
    for engine in ("loop", "flat", "stacked"):
        fogline.simulate(lazy, rounds=1, engine=engine, processes=0, progress=False)


class Frozen(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)
        self.requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Frozen, "no trainable parameters"),
        (nn.Identity, "no trainable parameters"),
        (lambda: nn.Linear(5, 3), r"cannot take its inputs, float32 \(2, 4\): mat1"),
        (lambda: nn.Sequential(nn.Linear(4, 3), Tuple()), "the model gives a str"),
    ],
)
def test_what_cannot_train_is_refused_before_the_run(model: Any, said: str) -> None:
    rng = np.random.default_rng(0)
    data = from_clients("d", {"a": (rng.normal(size=(20, 4)), rng.integers(0, 3, 20))}, classes=3)
    with pytest.raises(fogline.JobError, match=said):
        fogline.simulate(TorchTask(model, data), rounds=1, processes=0, progress=False)


class Tuple(nn.Module):
    """Gives text."""

    def forward(self, x: Tensor) -> str:
        return "nothing"
