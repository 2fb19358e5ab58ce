"""Baselines: the same model without federation, on as many gradient steps as the run's devices made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

import fogline
from fogline import Evaluation, FedAvg, Job, JobError, Local, Tier, Tree
from fogline.data import Examples, FederatedData, from_arrays, from_clients
from fogline.jobs.planning import local_training, planner
from fogline.monitoring.progress import Silent
from fogline.monitoring.result import Baseline, Result
from fogline.params import Params
from fogline.simulation.baselines import alone as alone_module
from fogline.training.local import ClientJob
from tests.toy import SPEC, ToyTask, toy_data

BOTH = ("pooled", "alone")
LOCAL = Local(learning_rate=0.1, decay=0.8, schedule="exponential", batch_size=10, epochs=2)
STEPS = 2 * 2
"""Of a device of 20 examples in a round: two epochs of two batches."""


class Notes(Silent):
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    @property
    def made(self) -> list[str]:
        return [text.split()[1].rstrip(":") for text in self.said if text.startswith("Baseline")]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def simulate(data: FederatedData | None = None, **settings: Any) -> Result:
    settings = {"rounds": 6, "processes": 0, "progress": False, "local": LOCAL, "baselines": BOTH} | settings
    return fogline.simulate(ToyTask(data or toy_data()), **settings)


def trained_by_hand(task: ToyTask, client: int, rounds: list[tuple[int, int, int]]) -> Params:
    """A model after local rounds (steps, round, attempt) of one device, without the simulator."""
    job = Job(local=LOCAL, rounds=6)
    plan, model = planner(job, task.data, FedAvg()), task.initial(0)
    engine = task.build("loop", FedAvg(), local_training(job))
    for steps, index, attempt in rounds:
        planned = plan(client, index, attempt)
        assert planned.learning_rate == pytest.approx(0.1 * 0.8**index)
        (done,) = engine.train(
            [ClientJob(client, model.vector, model.counters, steps, planned.learning_rate, planned.seed)]
        )
        model = Params(SPEC, done.end, done.counters)
    return model


def accuracy(task: ToyTask, model: Params) -> float:
    assert task.data.test is not None
    return task.metrics(task.evaluate(model, task.data.test))["accuracy"]


def test_with_a_single_device_run_and_baselines_are_one() -> None:
    result = simulate(toy_data(clients=1, size=60))
    for baseline in result.baselines.values():
        assert baseline.metrics == pytest.approx(result.metrics, rel=1e-5)
        assert baseline.steps == 6 * 12 == sum(row["steps"] for row in result.history)
    curve = result.baselines["pooled"].history
    assert [row["loss"] for row in curve] == pytest.approx([row["loss"] for row in result.history], rel=1e-5)
    assert [row["seconds"] for row in curve] == [row["seconds"] for row in result.history]


@pytest.mark.parametrize("processes", [0, 2])
def test_alone_each_device_makes_its_own_steps_of_the_run(processes: int) -> None:
    result = simulate(processes=processes, chunk=2)
    alone, task = result.baselines["alone"], ToyTask()
    assert alone.steps == 12 * 6 * STEPS
    values = {
        name: accuracy(task, trained_by_hand(task, i, [(STEPS, turn, turn) for turn in range(6)]))
        for i, name in enumerate(task.data.clients)
    }
    assert alone.models is not None
    assert alone.models.values == values
    assert alone.metrics["accuracy"] == pytest.approx(np.mean(list(values.values())))
    assert alone.models.worst_decile == min(values.values())


def test_pooled_makes_the_steps_of_all_devices_one_after_the_other() -> None:
    result = simulate(evaluation={"every": 2})
    pooled, data = result.baselines["pooled"], toy_data()
    parts = [data.at(i) for i in range(12)]
    x, y = np.concatenate([part.array for part in parts]), np.concatenate([part.y for part in parts])
    task = ToyTask(from_arrays("all", x, y, [np.arange(240)], classes=3, test=data.test))
    by_hand = trained_by_hand(task, 0, [(12 * STEPS, turn, turn) for turn in range(6)])
    assert pooled.steps == 12 * 6 * STEPS
    assert pooled.metrics["accuracy"] == accuracy(task, by_hand)
    assert [row["round"] for row in pooled.history] == [2, 4, 6]
    assert pooled.history[-1]["loss"] == pooled.metrics["loss"]


def test_of_a_cohort_the_steps_are_shared_out_between_all_devices() -> None:
    result = simulate(tree=Tree(cloud=Tier(cohort=3)), rounds=10)
    total = sum(row["steps"] for row in result.history)
    assert total == 10 * 3 * STEPS
    alone, pooled = result.baselines["alone"], result.baselines["pooled"]
    assert pooled.steps == total
    assert alone.models is not None
    assert len(alone.models.values) == 12
    assert alone.steps == 12 * round(total / 12)
    three = trained_by_hand(ToyTask(), 5, [(4, 0, 0), (4, 3, 1), (2, 6, 2)])
    assert alone.models.values["client-05"] == accuracy(ToyTask(), three)


def test_the_hooks_of_the_method_take_no_part() -> None:
    plain = simulate()
    pulled = simulate(algorithm=fogline.algorithms.make("fedprox", mu=3.0))
    assert pulled.metrics != plain.metrics
    assert pulled.baselines == plain.baselines


def test_without_a_test_set_devices_that_never_train_judge() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=120)
    x = (np.eye(4)[y] * 3 + rng.normal(size=(120, 4))).astype(np.float32)
    parts = {f"p{i}": np.arange(20 * i, 20 * i + 20) for i in range(6)}
    data = from_arrays("held", x, y, parts, classes=3, held_out=["p4", "p5"])
    result = simulate(data)
    for baseline in result.baselines.values():
        assert baseline.metrics == {}
        assert baseline.held_out["accuracy"] > 0.5
        assert baseline.value("accuracy") == baseline.held_out["accuracy"]
    models = result.baselines["alone"].models
    assert models is not None
    assert set(models.values) == {"p0", "p1", "p2", "p3"}
    assert "federation" in result.summary()
    with pytest.raises(JobError, match="or on devices that never train, and the data set 'bare' has neither"):
        simulate(from_arrays("bare", x, y, parts, classes=3))


def own_models(task: ToyTask, data: FederatedData) -> dict[str, dict[str, float]]:
    """Sums over what each device holds out, of a model that it trained alone, without the simulator."""
    models = [trained_by_hand(task, i, [(STEPS, turn, turn) for turn in range(6)]) for i in range(len(data))]
    return {name: task.evaluate(model, data.judged(name)) for name, model in zip(data, models, strict=True)}


@pytest.mark.parametrize("processes", [0, 2])
def test_where_devices_judge_each_is_judged_alone_on_its_own_part(processes: int) -> None:
    data = toy_data(size=25).with_parts_held_out(0.2, 0)
    task = ToyTask(data)
    result = simulate(toy_data(size=25), evaluation={"where": "devices"}, processes=processes, chunk=2)
    alone, pooled = result.baselines["alone"], result.baselines["pooled"]
    sums = own_models(task, data)
    assert alone.models is None
    assert alone.devices is not None
    assert alone.devices.values == {name: one["correct"] / one["count"] for name, one in sums.items()}
    total = {name: sum(one[name] for one in sums.values()) for name in ("count", "correct", "loss")}
    assert alone.metrics == pytest.approx(task.metrics(total))
    assert alone.value("accuracy") == pytest.approx(total["correct"] / total["count"])
    assert pooled.history[-1]["accuracy"] == pooled.metrics["accuracy"] == pooled.value("accuracy")
    told = " ".join(result.summary().split())
    assert "accuracy of 12 models on examples of their own devices that never train: mean" in told
    assert result.devices is not None
    apart = 100 * abs(result.devices.mean - alone.devices.mean)
    assert f"federation {'gains' if result.devices.mean > alone.devices.mean else 'costs'} {apart:.2f} points" in told
    assert result.plot() is not None


def test_where_both_judge_a_device_is_judged_alone_on_both() -> None:
    data = toy_data(size=25)
    result = simulate(data, evaluation={"where": "both"}, baselines="alone", folder="run")
    alone, task = result.baselines["alone"], ToyTask(data.with_parts_held_out(0.2, 0))
    assert alone.models is not None
    assert alone.devices is not None
    assert alone.metrics["accuracy"] == pytest.approx(alone.models.mean)
    assert alone.devices.values == {n: s["correct"] / s["count"] for n, s in own_models(task, task.data).items()}
    assert result.summary().count("federation") == 2
    assert fogline.load_run("run").baselines == result.baselines


def test_data_without_a_test_set_have_baselines_where_devices_judge() -> None:
    data = toy_data()
    bare = from_clients("bare", {name: data[name] for name in data}, classes=3)
    result = simulate(bare, evaluation={"where": "devices"}, rounds=2)
    assert all(one.value("accuracy") is not None for one in result.baselines.values())


def test_names_are_checked_before_anything_runs() -> None:
    with pytest.raises(JobError, match=r"evaluation\.baselines: There is no baseline 'pool'; did you mean 'pooled'"):
        simulate(baselines="pool", folder="run")
    assert not Path("run").exists()
    assert list(simulate(baselines="Alone").baselines) == ["alone"]
    assert list(simulate(baselines=(), evaluation=Evaluation(baselines=("pooled",))).baselines) == ["pooled"]


def test_a_client_that_cannot_be_loaded_is_left_out_and_named() -> None:
    def load(client: str) -> Examples:
        if client == "b":
            raise OSError("its disk is gone")
        return toy_data(clients=1, seed=ord(client)).at(0)

    data = from_clients("files", ["a", "b", "c"], load, sizes=[20] * 3, classes=3, test=toy_data().test)
    task = fogline.SklearnTask(SGDClassifier(loss="log_loss"), data)
    result = fogline.simulate(task, rounds=3, processes=0, progress=False, baselines=BOTH)
    for baseline in result.baselines.values():
        assert baseline.failures == 1
        assert "its disk is gone" in baseline.reason
        assert baseline.value("accuracy") is not None
    assert "(1 without a model (first: Client 'b'" in " ".join(result.summary().split())


def test_a_folder_keeps_them_and_a_run_that_goes_on_does_not_repeat_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(alone_module._Work, "judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulate(folder="run")
    notes = Notes()
    result = simulate(folder="run", resume=True, progress=notes)
    assert notes.made == ["alone"]
    assert result.baselines == simulate().baselines
    loaded = fogline.load_run("run")
    assert loaded.baselines == result.baselines
    assert loaded.higher_is_better
    assert set(json.loads(Path("run/baselines.json").read_text())) == set(BOTH)
    more = Notes()
    longer = simulate(folder="run", resume=True, progress=more, rounds=8)
    assert more.made == ["pooled", "alone"]
    assert longer.baselines["pooled"].steps == 12 * 8 * STEPS


def test_a_finished_run_gets_baselines_later() -> None:
    first = simulate(folder="run", baselines=())
    assert first.baselines == {}
    assert "Baseline" not in first.summary()
    later = simulate(folder="run", resume=True)
    assert later.history == first.history
    assert later.baselines == simulate().baselines


def test_nothing_learned_is_said() -> None:
    failed = Baseline("pooled", 0, 6, {}, failures=1, reason="round 1: its loss is not finite")
    result = simulate(baselines=())
    result.baselines = {"pooled": failed}
    assert "Baseline pooled     1 without a model (first: round 1: its loss is not finite)" in result.summary()
    assert result.plot() is not None
