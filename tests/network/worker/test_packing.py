"""A worker packs the model of a job into a version."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from fogline.inference.card import Card, Lineage, read_card
from fogline.inference.runtimes.base import ModelError
from fogline.jobs.job import Job, Publish
from fogline.network.worker.packing import pack
from fogline.network.worker.requests import Base, PackageModel
from fogline.params import Params
from fogline.training.torch import TorchTask
from tests.inference.cases import Exiting, tables, trained

JOB = Job(task="somewhere:task", publish=Publish(exits=("cheap", "dear"), exit_accuracy=0.01))


@pytest.fixture
def task() -> TorchTask:
    return TorchTask(Exiting, tables(3))


def packed(task: TorchTask, params: Params, folder: Path, before: tuple[Base, ...] = (), graph: str = "") -> Card:
    folder.mkdir()
    asked = PackageModel("g", str(folder), "m", "lossless", (), Lineage(), before, graph or None)
    made = pack(JOB, task, params, asked)
    card = read_card(made.card)
    assert set(made.files) == {asset.digest for asset in card.files()}
    assert not made.notes
    return card


def test_a_job_with_exits_publishes_stages_that_stay_the_same(task: TorchTask, tmp_path: Path) -> None:
    first, second = trained(task), trained(task)
    second.vector[:] *= 1.25
    one = packed(task, first, tmp_path / "one")
    assert one.exits is not None
    assert one.exits.outputs == ("cheap", "dear")
    assert len(one.exits.stages) == 2
    assert one.weights is not None
    base = Base(one.weights.digest, str(tmp_path / "one" / "weights.safetensors"))
    two = packed(task, second, tmp_path / "two", (base,), str(tmp_path / "one" / "graph.onnx"))
    assert two.exits is not None
    assert two.exits.stages == one.exits.stages, "a node has them already"


def test_a_task_without_exits_refuses_their_names(tmp_path: Path) -> None:
    task = TorchTask(lambda: nn.Linear(6, 3), tables(3))
    with pytest.raises(ModelError, match="gives 1 outputs; 2 names were given"):
        packed(task, trained(task), tmp_path / "one")
