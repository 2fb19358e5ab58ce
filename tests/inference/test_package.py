"""A trained model becomes a version that answers as the model does, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fogline.data import Meaning
from fogline.inference.card import Code, Dense, Exits, Units, read_card
from fogline.inference.exits import UnfittedExits, choose
from fogline.inference.golden import check
from fogline.inference.package import PackageOptions, package
from fogline.inference.packaging.judging import fitted_temperature
from fogline.inference.runtimes.base import ModelError
from fogline.inference.runtimes.choose import open_runtime
from fogline.params import load_arrays
from fogline.training.torch import TorchTask
from tests.inference.cases import (
    NAMES,
    TASKS,
    TORCH,
    Exiting,
    finder,
    images,
    made,
    right_answer,
    tables,
    trained,
)

DENSE = {"mlp", "softmax", "sigmoid", "regression", "logistic", "pair", "pictures", "line"}


@pytest.mark.parametrize("name", TASKS)
def test_every_runtime_answers_as_the_model_does(name: str, tmp_path: Path) -> None:
    task = TASKS[name]()
    version, params = made(task, tmp_path), trained(task)
    card = version.card
    assert read_card(card.encoded()) == card
    assert not version.notes
    assert {hashlib.sha256(p.read_bytes()).hexdigest() for p in version.files.values()} == set(version.files)
    assert set(version.files) == {asset.digest for asset in card.files()}
    runtimes = ["onnx", "dense"] if name in DENSE else ["onnx"]
    assert bool(card.dense) == (name in DENSE)
    rng = np.random.default_rng(1)
    for kind in runtimes:
        runtime = open_runtime(card, finder(version), only=kind).runtime
        check(card, runtime, finder(version))
        for batch in (1, 3, 17):
            x = task.data.at(1).x[rng.integers(0, 20, batch)]
            wanted = right_answer(task, params, x)
            sent = x if x.dtype != np.float32 or card.inputs[0].datatype == "FP32" else x.astype(np.float64)
            given = runtime.run({"input": sent})["output"]
            assert given.dtype == {"FP32": np.float32, "FP64": np.float64}[card.outputs[0].datatype]
            np.testing.assert_allclose(given, wanted, atol=1e-5 * max(1, np.abs(wanted).max()))


def test_the_same_weights_make_the_same_files(tmp_path: Path) -> None:
    task, cards = TORCH["residual"](), []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        cards.append(made(task, tmp_path / place).card)
    assert cards[0].files() == cards[1].files()


def test_a_round_later_the_graph_is_the_same_and_need_not_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TORCH["residual"]()
    first = made(task, tmp_path)
    (tmp_path / "next").mkdir()
    monkeypatch.setattr(torch.onnx, "export", None)
    graph = first.files[first.card.assets()["graph"].digest]
    second = package(task, trained(task, 1), tmp_path / "next", "model", PackageOptions(graph=graph))
    assert second.card.graph == first.card.graph
    assert second.card.weights != first.card.weights
    again = second.files[second.card.assets()["graph"].digest].read_bytes()
    assert len(again) < 5000
    assert b"stack_trace" not in again
    assert b"/" + Path(__file__).name.encode() not in again


class Cosine(nn.Module):
    """Of the same layout as :class:`Sine`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos(self.layer(x))


class Sine(Cosine):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.layer(x))


def test_a_graph_of_another_model_with_the_same_layout_is_not_used_again(tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    first = made(TorchTask(Cosine, tables(3)), tmp_path)
    second = made(TorchTask(Sine, tables(3)), tmp_path / "next", graph=tmp_path / "graph.onnx")
    assert second.card.graph != first.card.graph
    assert "exported anew" in second.notes[0]
    assert set(second.files) == {asset.digest for asset in second.card.files()}


class TwoFaced(Cosine):
    """Says something else to the exporter."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (1.001 if torch.compiler.is_exporting() else 1.0)


class Mingled(Cosine):
    """What it says of an example depends on its company."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(0))


@pytest.mark.parametrize("kind", [TwoFaced, Mingled])
def test_a_graph_that_answers_differently_is_never_published(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"The exported graph does not answer .* Output 'output' differs .* by \d"):
        made(TorchTask(kind, tables(3)), tmp_path, code=Code("tasks:task"))


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 3))
    module[0].register_forward_hook(lambda *given: given[2] * 2)
    return module


def test_layers_that_answer_differently_are_never_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogline.training.torch.kernels.trace.hooks_of", lambda module: None)  # Tracing that is blind.
    with pytest.raises(ModelError, match="The plain layers do not answer as the trained model does"):
        made(TorchTask(hooked, tables(3)), tmp_path)


def test_a_model_with_hooks_is_published_as_a_graph(tmp_path: Path) -> None:
    card = made(TorchTask(hooked, tables(3)), tmp_path).card
    assert (card.graph is not None, card.dense) == (True, ())


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    task = TORCH["mlp"]()
    params = trained(task)
    params.view("3.bias")[2] = np.nan
    with pytest.raises(ModelError, match=r"Tensor '3\.bias' of the weights is not finite"):
        package(task, params, tmp_path, "model")


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="of another model than task 'model'"):
        package(TORCH["mlp"](), trained(TORCH["lenet"]()), tmp_path, "model")


class Unexportable(Cosine):
    """Reads a number out of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (2.0 if float(x.abs().sum().item()) > -1 else 1.0)


CODE = """
from fogline.training.torch import TorchTask
from tests.inference.cases import tables
from tests.inference.test_package import Unexportable

def make(loss: str) -> TorchTask:
    return TorchTask(Unexportable, tables(3), loss)
"""


def test_what_cannot_be_exported_runs_from_its_code(tmp_path: Path) -> None:
    task = TorchTask(Unexportable, tables(3))
    with pytest.raises(ModelError, match="cannot be exported"):
        made(task, tmp_path)
    code = Code("inference_task_code:make", {"loss": "cross_entropy"})
    version = made(task, tmp_path, code=code)
    assert version.card.graph is None
    assert "in PyTorch" in version.notes[0]
    with pytest.raises(ModelError, match="needs the code of task 'inference_task_code:make'; give its folder"):
        open_runtime(version.card, finder(version))
    with pytest.raises(ModelError, match="there is no module"):
        open_runtime(version.card, finder(version), code=tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference_task_code.py").write_text(CODE)
    runtime = open_runtime(version.card, finder(version), code=tmp_path / "code").runtime
    check(version.card, runtime, finder(version))
    x = task.data.at(0).array
    np.testing.assert_allclose(runtime.run({"input": x})["output"], right_answer(task, trained(task), x), rtol=1e-5)
    with pytest.raises(ModelError, match="PyTorch cannot run the model"):
        runtime.run({"input": x[:, :2]})
    runtime.close()
    with pytest.raises(ModelError, match="closed"):
        runtime.run({"input": x})


@pytest.mark.parametrize("by_name", [False, True])
def test_a_model_with_early_exits(by_name: bool, tmp_path: Path) -> None:
    task = TorchTask(lambda: Exiting(by_name), tables(3, meaning=Meaning(3, NAMES)))
    exits = Exits(("cheap", "dear"), (0.9,))
    version = made(task, tmp_path, exits=exits, outputs=() if by_name else ("cheap", "dear"))
    assert [tensor.name for tensor in version.card.outputs] == ["cheap", "dear"]
    assert version.card.exits is not None
    assert (version.card.exits.outputs, version.card.exits.thresholds) == (exits.outputs, exits.thresholds)
    assert not version.notes
    assert set(version.files) == {asset.digest for asset in version.card.files()}
    assert version.card.scores is not None
    assert (version.card.scores.output, version.card.scores.labels) == ("dear", NAMES)
    assert set(version.card.metrics) == {"accuracy"}
    runtime = open_runtime(version.card, finder(version)).runtime
    check(version.card, runtime, finder(version))
    assert {name: array.shape for name, array in runtime.run({"input": task.data.at(0).x}).items()} == {
        "cheap": (20, 3),
        "dear": (20, 3),
    }
    with pytest.raises(ModelError, match="need a threshold each but the last"):
        made(task, tmp_path, exits=Exits(("cheap", "dear"), ()), outputs=() if by_name else ("cheap", "dear"))


def test_where_the_mean_answers_it_is_what_is_served_in_the_place_of_the_last(tmp_path: Path) -> None:
    task = TorchTask(lambda: Exiting(by_name=True), tables(3), answer="mean")
    version = made(task, tmp_path)
    module, params, x = task.untrained().eval(), trained(task), task.data.at(0).array
    task.layout.load(module, params.vector, params.counters)
    with torch.no_grad():
        outputs = module(task.inputs(x))
    cheap, dear = (part.numpy() for part in outputs.values())
    served = open_runtime(version.card, finder(version)).runtime.run({"input": x})
    np.testing.assert_allclose(served["cheap"], cheap, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(served["dear"], (cheap + dear) / 2, rtol=1e-5, atol=1e-6)


def test_exits_that_are_wanted_get_thresholds_that_reach_what_the_last_reaches(tmp_path: Path) -> None:
    task = TorchTask(Exiting, tables(3, meaning=Meaning(3, NAMES)))
    card = made(task, tmp_path, exits=UnfittedExits(("cheap", "dear")), outputs=("cheap", "dear")).card
    assert card.exits is not None
    assert card.scores is not None
    test = task.data.test
    assert test is not None
    module, params = task.untrained().eval(), trained(task)
    task.layout.load(module, params.vector, params.counters)
    with torch.no_grad():
        given = module(task.inputs(test.x))
    outputs = {name: array.numpy() for name, array in zip(("cheap", "dear"), given, strict=True)}
    chosen = choose(card.exits, card.scores, outputs)
    assert (chosen.scores.argmax(-1) == test.y).mean() >= (outputs["dear"].argmax(-1) == test.y).mean()
    with pytest.raises(ModelError, match="cannot be reached"):
        made(task, tmp_path, exits=UnfittedExits(("cheap", "dear"), 1.0), outputs=("cheap", "dear"))


def test_names_that_do_not_fit_the_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives 2 outputs; 1 names were given"):
        made(TorchTask(Exiting, tables(3)), tmp_path, outputs=("only",))


def test_what_the_card_says(tmp_path: Path) -> None:
    task = TORCH["softmax"]()
    seen: list[Any] = []

    def reference(card: Any, inputs: Any, outputs: Any) -> bytes:
        seen.append((card.scores, inputs["input"].shape, outputs["output"].shape))
        return b"reference"

    card = made(task, tmp_path, reference=reference).card
    assert card.version == 0
    assert card.scores is not None
    assert (card.scores.kind, card.scores.labels, card.scores.temperature) == ("probabilities", NAMES, 1.0)
    assert card.dense == (Dense("0.weight", "0.bias", "tanh"), Dense("3.weight", "", "softmax"))
    assert card.headline == "accuracy"
    assert card.metrics == task.metrics(task.evaluate(trained(task), task.data.test))
    assert seen == [(card.scores, (40, 6), (40, 3))]
    assert card.reference is not None
    assert card.reference.size == 9
    assert made(task, tmp_path, metrics={"accuracy": 0.5}).card.metrics == {"accuracy": 0.5}
    assert made(TORCH["regression"](), tmp_path).card.units == Units(3.0, 40.0, "kWh")


def test_golden_samples_come_from_the_test_set_and_show_every_class(tmp_path: Path) -> None:
    task = TorchTask(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), images(1, 8))
    made(task, tmp_path, golden=10)
    x = load_arrays(tmp_path / "golden.safetensors")["input/input"]
    test = task.data.test
    assert test is not None
    places = [int(np.flatnonzero((test.x == sample).all((1, 2, 3)))[0]) for sample in x]
    assert len(set(places)) == 10
    assert set(test.y[places]) == set(test.y)


def test_without_a_test_set_golden_samples_are_nobodys(tmp_path: Path) -> None:
    task = TorchTask(lambda: nn.Linear(6, 3), tables(3, test=False))
    version = made(task, tmp_path)
    x, given = load_arrays(tmp_path / "golden.safetensors")["input/input"], task.data.at(0).array
    assert len(x) == 16
    assert given.min() <= x.min()
    assert x.max() <= given.max()
    assert not np.isin(x, np.concatenate([task.data.at(0).array, task.data.at(1).array])).any()
    assert version.card.metrics == {}
    check(version.card, open_runtime(version.card, finder(version)).runtime, finder(version))


@pytest.mark.parametrize("right", [0.3, 1.0, 4.0])
def test_the_temperature_is_that_of_the_labels(right: float) -> None:
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(20_000, 4))
    odds = np.exp(logits / right)
    labels = (rng.random((20_000, 1)) > (odds / odds.sum(1, keepdims=True)).cumsum(1)).sum(1)
    assert fitted_temperature(logits.astype(np.float32), labels) == pytest.approx(right, rel=0.05)


def test_tampered_golden_samples_are_noticed(tmp_path: Path) -> None:
    task = TORCH["mlp"]()
    version = made(task, tmp_path)
    runtime = open_runtime(version.card, finder(version)).runtime
    arrays = load_arrays(tmp_path / "golden.safetensors")
    for output, said in (
        (arrays["output/output"] + np.float32(0.01), r"Output 'output' differs .* by 0\.\d+ of its largest value"),
        (np.full_like(arrays["output/output"], np.nan), "by inf"),
        (arrays["output/output"][:, :3], r"has shape \[16, 10\], not \[16, 3\]"),
    ):
        from fogline.params import save_arrays

        save_arrays(tmp_path / "golden.safetensors", arrays | {"output/output": output})
        with pytest.raises(ModelError, match=said):
            check(version.card, runtime, finder(version))
    (tmp_path / "golden.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="The golden samples cannot be read"):
        check(version.card, runtime, finder(version))
    with pytest.raises(ModelError, match="has no golden samples"):
        check(msgspec.structs.replace(version.card, golden=None), runtime, finder(version))
