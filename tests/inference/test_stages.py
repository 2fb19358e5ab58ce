"""A model with early exits runs in stages: the same answers, and no work beyond the exit that answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from fogline.inference.card import Exits, Scores, read_card
from fogline.inference.confidence import confidence
from fogline.inference.exits import EarlyExit, choose
from fogline.inference.golden import check
from fogline.inference.package import Package
from fogline.inference.packaging.stages import StagesError, stages_of
from fogline.inference.runtimes import choose as choose_module
from fogline.inference.runtimes.base import Array, ModelError, Run
from fogline.inference.runtimes.choose import open_runtime
from fogline.inference.runtimes.onnx import OnnxRuntime
from fogline.serving.update.files import narrowed
from fogline.training.torch import TorchTask
from tests.inference.cases import finder, images, made

NAMES = ("first", "second", "third")


class Deep(nn.Module):
    """Three exits; the third also takes what was computed for the first, and the shape of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.top = (nn.Conv2d(n, 4, 3, padding=1) for n in (1, 4, 4))
        self.heads = nn.ModuleList(nn.Linear(n, 10) for n in (4, 4, 4 * 64))

    def forward(self, x: Tensor) -> Any:
        low = torch.relu(self.stem(x))
        high = torch.relu(self.middle(low))
        last = torch.relu(self.top(high)) + low + torch.arange(x.shape[2])
        return (
            self.heads[0](low.mean((2, 3))),
            self.heads[1](high.transpose(0, 1).amax((2, 3)).transpose(0, 1)),
            self.heads[2](last.reshape(x.shape[0], -1)),
        )


class Backwards(nn.Module):
    """Its exits are in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(64, 10), nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Any:
        low = self.low(x.flatten(1))
        return self.high(low), low


def version_of(module: type[nn.Module], folder: Path, exits: Exits, **options: Any) -> tuple[TorchTask, Package]:
    task = TorchTask(module, images(1, 8))
    return task, made(task, folder, exits=exits, outputs=exits.outputs, **options)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchTask, Package]:
    return version_of(Deep, tmp_path_factory.mktemp("deep"), Exits(NAMES, (0.5, 0.5)))


class Counted:
    """A runtime that notes how many rows every stage is given."""

    name = "counted"

    def __init__(self, runtime: OnnxRuntime) -> None:
        self.run = runtime.run
        self.rows: list[tuple[int, int]] = []
        self.stages: tuple[Run, ...] = tuple(self._counted(place, stage) for place, stage in enumerate(runtime.stages))

    def close(self) -> None: ...

    def _counted(self, place: int, stage: Run) -> Run:
        def run(values: Mapping[str, Array]) -> Mapping[str, Array]:
            self.rows.append((place, len(values["input"])))
            return stage(values)

        return run


def test_stages_carry_no_weights_and_pass_the_self_test(deep: tuple[TorchTask, Package]) -> None:
    _, version = deep
    exits = version.card.exits
    assert exits is not None
    assert not version.notes
    assert set(version.files) == {asset.digest for asset in version.card.files()}
    assert version.card.weights is not None
    assert len(exits.stages) == 3
    for stage in exits.stages:
        assert version.files[stage.digest].read_bytes().count(b"weights") > 0, "they are taken from the weights file"
        assert stage.size < 6000
    runtime = open_runtime(version.card, finder(version), only="staged").runtime
    assert (runtime.name, len(runtime.stages)) == ("staged", 3)
    check(version.card, runtime, finder(version))
    runtime.close()
    with pytest.raises(ModelError, match="closed"):
        runtime.stages[0]({})


@pytest.mark.parametrize("seed", range(8))
def test_stages_answer_as_the_whole_does(deep: tuple[TorchTask, Package], seed: int) -> None:
    task, version = deep
    rng = np.random.default_rng(seed)
    scores = version.card.scores
    assert scores is not None
    assert version.card.exits is not None
    runtime = OnnxRuntime(version.card, finder(version), staged=True)
    x = task.data.at(0).x[rng.integers(0, 20, 1 + seed)].astype(np.float32)
    outputs = runtime.run({"input": x})
    # Some rows leave at every exit, and none is within rounding of a threshold.
    thresholds = tuple(float(np.median(_sure(scores, name, outputs))) + 1e-4 for name in NAMES[:2])
    exits = msgspec.structs.replace(version.card.exits, thresholds=thresholds)
    answering, whole = EarlyExit(exits, scores, runtime), choose(exits, scores, outputs)
    np.testing.assert_allclose(answering({"input": x})["third"], whole.scores, rtol=1e-4, atol=1e-5)
    assert answering.left == np.bincount(whole.exits, minlength=3).tolist()


def test_no_stage_runs_for_a_row_that_has_its_answer(deep: tuple[TorchTask, Package]) -> None:
    task, version = deep
    card = version.card
    assert card.scores is not None
    assert card.exits is not None
    x = task.data.at(0).array[:6].astype(np.float32)
    outputs = OnnxRuntime(card, finder(version), staged=True).run({"input": x})
    sure = _sure(card.scores, "first", outputs)
    for thresholds, rows in (
        ((0.0, 0.0), [(0, 6)]),
        ((2.0, 0.0), [(0, 6), (1, 6)]),
        ((2.0, 2.0), [(0, 6), (1, 6), (2, 6)]),
        ((float(np.sort(sure)[3]) - 1e-6, 2.0), [(0, 6), (1, 3), (2, 3)]),
    ):
        counted = Counted(OnnxRuntime(card, finder(version), staged=True))
        exits = msgspec.structs.replace(card.exits, thresholds=thresholds)
        answers = EarlyExit(exits, card.scores, counted)({"input": x})
        assert list(answers) == ["third"]
        assert counted.rows == rows


def test_what_cannot_be_cut_is_run_as_a_whole_and_said(tmp_path: Path) -> None:
    _, version = version_of(Backwards, tmp_path, Exits(("early", "late"), (0.5,)))
    assert version.card.exits is not None
    assert not version.card.exits.stages
    assert version.notes == [
        "Early exits spare no work: all of the model is run for every example. "
        "Exit 'late' is computed on the way to the one before it; name the cheapest first."
    ]
    assert set(version.files) == {asset.digest for asset in version.card.files()}
    runtime = open_runtime(version.card, finder(version)).runtime
    assert not runtime.stages
    check(version.card, runtime, finder(version))


class WithMore(nn.Module):
    """An output that is no exit, which the first exit is computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.first, self.last = nn.Linear(64, 8), nn.Linear(8, 10), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Any:
        low = torch.relu(self.low(x.flatten(1)))
        return {"first": self.first(low), "features": low, "last": self.last(torch.tanh(low))}


def test_an_output_that_is_no_exit_does_not_keep_a_model_from_running_in_stages(tmp_path: Path) -> None:
    version = made(TorchTask(WithMore, images(1, 8)), tmp_path, exits=Exits(("first", "last"), (0.5,)))
    assert not version.notes
    assert version.card.exits is not None
    assert len(version.card.exits.stages) == 2
    assert [tensor.name for tensor in version.card.answers] == ["last"]
    check(version.card, OnnxRuntime(version.card, finder(version), staged=True), finder(version))


def test_a_graph_with_branches_is_not_cut() -> None:
    one = helper.make_tensor_value_info("one", TensorProto.FLOAT, ["n"])
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["one"])], "branch", [], [one])
    node = helper.make_node("If", ["yes"], ["one"], then_branch=branch, else_branch=branch)
    inputs = [
        helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
    ]
    graph = helper.make_model(helper.make_graph([node], "g", inputs, [one])).SerializeToString()
    with pytest.raises(StagesError, match="branches or loops"):
        stages_of(graph, {}, {"x": np.ones(2, np.float32)}, ["one"])


def test_a_node_takes_what_is_faster_where_as_many_leave_as_on_the_test_set(
    deep: tuple[TorchTask, Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, version = deep
    exits = version.card.exits
    assert exits is not None
    assert sum(exits.shares) == pytest.approx(1)
    monkeypatch.setattr(choose_module, "_median", lambda run, sample: 1.0 if isinstance(run, partial) else 2.0)
    for shares, seconds, best in (((1.0, 0.0, 0.0), 1.0, "staged"), ((0.0, 0.5, 0.5), 2.5, "onnx")):
        card = msgspec.structs.replace(version.card, exits=msgspec.structs.replace(exits, shares=shares))
        chosen = open_runtime(card, finder(version))
        assert chosen.timings == {"onnx": 2.0, "staged": seconds}
        assert chosen.runtime.name == best


@pytest.mark.parametrize("name", ["onnx", "staged"])
def test_a_node_loads_only_the_form_that_its_trial_chose(deep: tuple[TorchTask, Package], name: str) -> None:
    _, version = deep
    card = read_card(narrowed(version.card.encoded(), name))
    chosen = open_runtime(card, finder(version))
    assert list(chosen.timings) == [name]
    check(card, chosen.runtime, finder(version))


def test_stages_that_do_not_fit_each_other_are_refused(deep: tuple[TorchTask, Package]) -> None:
    _, version = deep
    exits = version.card.exits
    assert exits is not None
    turned = msgspec.structs.replace(exits, stages=exits.stages[::-1])
    with pytest.raises(ModelError, match="of which the card knows nothing"):
        OnnxRuntime(msgspec.structs.replace(version.card, exits=turned), finder(version), staged=True)


def _sure(scores: Scores, name: str, outputs: Mapping[str, Array]) -> Array:
    return confidence(msgspec.structs.replace(scores, output=name), outputs)
