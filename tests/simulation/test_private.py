"""Entries that stay on devices, and frozen ones, in a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fogline
from fogline import CodeError, FedAvg, JobError, Result, Tier, Tree
from fogline.algorithms import FedBN, FedPer, FedProx, Scaffold
from fogline.algorithms import device as devices
from fogline.algorithms.device import LocalRound
from fogline.data import Examples, from_clients
from fogline.jobs.planning import planner
from fogline.params import Params
from fogline.simulation.executors import inline
from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.kept_on_device import COUNTERS, FLOATS
from tests.toy import SPLIT, SplitToy, ToyEngine, toy_data

TREE = Tree(cloud=Tier(), fog=Tier(count=3))
BODY, WEIGHTS = 8, 12


def simulate(algorithm: Any = None, task: Any = None, **more: Any) -> Result:
    settings = {"rounds": 3, "processes": 0, "progress": False, "engine": "loop"} | more
    return fogline.simulate(task or SplitToy(), algorithm or FedPer(), **settings)


def by_hand(result: Result) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """FedPer written down without any of it: the shared vector, the devices' heads, and what devices find."""
    data = toy_data().with_parts_held_out(0.2, 0)
    task, plan = SplitToy(data), planner(result.job, data, FedPer())
    engine = ToyEngine(task, LocalMethod(), LocalTraining())
    first = task.initial(0).vector
    body, mean = first[:BODY], first[WEIGHTS:]
    heads = dict.fromkeys(data, first[BODY:WEIGHTS])
    sizes = data.sizes()
    for r in range(len(result.history)):
        ends = list[np.ndarray]()
        for i, client in enumerate(data):
            planned = plan(i, r, r)
            start = np.concatenate([body, heads[client], mean])
            job = ClientJob(i, start, np.zeros(1, np.int64), planned.steps, planned.learning_rate, planned.seed)
            (done,) = engine.train([job])
            heads[client] = done.end[BODY:WEIGHTS]
            ends.append(done.end)
        shares = sizes / sizes.sum()
        body, mean = shares @ [end[:BODY] for end in ends], shares @ [end[WEIGHTS:] for end in ends]
    sums = [
        task.evaluate(
            Params(SPLIT, np.concatenate([body, heads[client], mean]), np.zeros(1, np.int64)), data.judged(client)
        )
        for client in data
    ]
    return np.concatenate([body, mean]), heads, task.metrics({name: sum(one[name] for one in sums) for name in sums[0]})


def test_fedper_is_what_it_is_by_hand_and_devices_judge_with_their_own_heads() -> None:
    result = simulate()
    shared, _, metrics = by_hand(result)
    assert [entry.name for entry in result.params.spec.entries] == ["body", "mean", "steps"]
    np.testing.assert_allclose(result.params.vector, shared, rtol=2e-5, atol=1e-6)
    assert result.metrics == pytest.approx(metrics, rel=1e-5)
    assert result.job.evaluation.where == "devices"
    assert result.devices is not None


def test_a_tree_workers_and_a_run_that_goes_on_give_the_same_bits(tmp_path: Path) -> None:
    star = simulate(exact=True, rounds=12)
    for other in (
        simulate(exact=True, rounds=12, tree=TREE),
        simulate(exact=True, rounds=12, tree=TREE, processes=2, chunk=2),
    ):
        np.testing.assert_array_equal(star.params.vector, other.params.vector)
        assert other.metrics == star.metrics
    simulate(exact=True, rounds=10, folder=tmp_path / "run")
    again = simulate(exact=True, rounds=12, folder=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(star.params.vector, again.params.vector)
    assert again.metrics == star.metrics


def test_what_travels_is_smaller_by_what_stays() -> None:
    """Heads are 4 of 16 numbers of 4 bytes, on the way down and up, with stages as without."""
    plain, kept = simulate(FedAvg(), evaluation={"every": 9}), simulate(evaluation={"every": 9})
    for way in ("down/cloud", "up/cloud"):
        assert plain.history[0][way] - kept.history[0][way] == 12 * 4 * 4
    staged = {"tree": Tree(cloud=Tier(uplink=["int8"], downlink=["int8"])), "evaluation": {"every": 9}}
    plain, kept = simulate(FedAvg(), **staged), simulate(**staged)
    for way in ("down/cloud", "up/cloud"):
        assert plain.history[0][way] - kept.history[0][way] == 12 * 4, "a byte a number, and the scales of one block"


@pytest.mark.parametrize("method", [FedPer(), FedProx(private=("body",)), Scaffold(private=("head", "mean", "steps"))])
def test_no_update_has_a_number_of_what_stays(method: FedAvg, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = list[LocalRound]()

    def watched(*given: Any) -> Sequence[LocalRound]:
        done = devices.run_cohort(*given)
        rounds.extend(done)
        return done

    monkeypatch.setattr(inline, "run_cohort", watched)
    result = simulate(method)
    assert len(rounds) == 36
    for done in rounds:
        assert done.update is not None
        own, sent = done.local[FLOATS], done.update.vectors
        assert sent["delta"].size == result.params.spec.trainable
        assert not set(own[own != 0].tolist()) & {x for vector in sent.values() for x in vector.tolist()}
        assert done.update.counters.size + done.local[COUNTERS].size == 1


def test_devices_that_never_train_have_the_first_head() -> None:
    data = toy_data().with_held_out(["client-03"])
    result, task = simulate(task=SplitToy(data)), SplitToy(data)
    first = task.initial(0).vector
    whole = np.concatenate([result.params.vector[:BODY], first[BODY:WEIGHTS], result.params.vector[BODY:]])
    found = task.metrics(task.evaluate(Params(SPLIT, whole, np.zeros(1, np.int64)), data["client-03"]))
    assert result.held_out == pytest.approx(found)


def test_training_before_judging_begins_from_a_device_s_own_head() -> None:
    plain, tuned = simulate(), simulate(evaluation={"fine_tune": {"epochs": 5}})
    np.testing.assert_array_equal(plain.params.vector, tuned.params.vector)
    assert tuned.metrics["loss"] < plain.metrics["loss"]


def test_whole_models_are_compared_on_what_devices_hold_out() -> None:
    result = simulate(baselines=("pooled", "alone"))
    assert result.devices is not None
    spread = result.baselines["alone"].devices
    assert spread is not None
    assert spread.count == result.devices.count
    assert result.baselines["pooled"].metrics.keys() == result.metrics.keys()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"evaluation": {"where": "cloud"}}, "evaluation.where is 'cloud', but FedPer keeps part of the model on each"),
        ({"evaluation": {"where": "both"}}, "evaluation.where is 'both', but FedPer"),
        (
            {"algorithm": FedAvg(private=("tail",))},
            "no entry of the model is called 'tail'; there are body, head, mean",
        ),
        ({"algorithm": FedBN()}, "FedBN keeps nothing on devices: the model has no layer with running statistics"),
    ],
)
def test_what_needs_a_whole_model_is_refused_before_the_run(more: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError) as caught:
        simulate(**more)
    assert words in str(caught.value)


def test_a_job_file_names_what_stays() -> None:
    from fogline.jobs.files.reading import parse_job
    from fogline.jobs.files.writing import job_to_toml
    from fogline.simulation.run import run

    text = 'rounds = 2\nengine = "loop"\nprocesses = 0\n[algorithm]\nname = "fedprox"\nprivate = ["head"]\n'
    job = parse_job(text)
    assert job.algorithm.parameters == {"private": ("head",)}
    assert parse_job(job_to_toml(job)) == job
    result = run(job, SplitToy(), progress=False)
    np.testing.assert_array_equal(result.params.vector, simulate(FedProx(private=("head",)), rounds=2).params.vector)


# PyTorch: batch normalisation, frozen layers, engines.


class Normalised(nn.Module):
    """A layer with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.body(x))))


class Transferred(nn.Module):
    """A backbone that does not train."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(4, 50), nn.Linear(50, 3)
        self.backbone.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.backbone(x)))


class Teaching(Transferred):
    """Its backbone follows something by itself."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.backbone.bias.add_(0.1)
        return super().forward(x)


def shifted(clients: int = 4) -> Any:
    """Devices whose inputs are scaled and shifted, each otherwise."""
    rng, made = np.random.default_rng(0), dict[str, Examples]()
    centres = rng.normal(size=(3, 4)) * 2
    for i in range(clients):
        y = rng.integers(3, size=40)
        x = (centres[y] + rng.normal(size=(40, 4))) * (1 + 3 * i) + 5 * i
        made[f"client-{i}"] = Examples(x.astype(np.float32), y)
    return from_clients("shifted", made, classes=3)


def test_fedbn_keeps_the_statistics_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = list[LocalRound]()

    def watched(*given: Any) -> Sequence[LocalRound]:
        done = devices.run_cohort(*given)
        rounds.extend(done)
        return done

    monkeypatch.setattr(inline, "run_cohort", watched)
    task = fogline.Task(Normalised, shifted())
    result = simulate(FedBN(), task)
    names = [entry.name for entry in result.params.spec.entries]
    assert names == ["body.weight", "body.bias", "head.weight", "head.bias"]
    last = rounds[-4:]
    weight, bias, mean, variance = np.split(np.stack([done.local[FLOATS] for done in last]), 4, axis=1)
    assert (weight.std(0) > 0).all()
    assert (bias.std(0) > 0).all()
    assert (np.abs(mean[3] - mean[0]) > 1.0).any(), "the inputs of these devices are shifted"
    assert (variance > 0).all()
    assert [done.local[COUNTERS].tolist() for done in last] == [[12], [12], [12], [12]]
    assert all(done.update is not None and set(done.update.vectors) == {"delta"} for done in rounds)
    assert all(done.update is not None and done.update.counters.size == 0 for done in rounds)


@pytest.mark.parametrize("engine", ["flat", "stacked"])
@pytest.mark.parametrize("method", [FedPer(), FedBN(), FedProx(mu=0.3, private=("head.*",))])
def test_engines_agree_on_what_stays(engine: str, method: FedAvg) -> None:
    """Every engine is compared with the reference before it is taken: one that differs would be refused."""
    task = fogline.Task(Normalised, shifted())
    here, there = simulate(method, task), simulate(method, task, engine=engine, chunk=4)
    np.testing.assert_allclose(here.params.vector, there.params.vector, rtol=1e-3, atol=1e-4)
    assert here.metrics["loss"] == pytest.approx(there.metrics["loss"], rel=1e-3)


def test_what_is_frozen_does_not_travel_and_is_in_the_result() -> None:
    task = fogline.Task(Transferred, shifted())
    result = simulate(FedAvg(), task)
    assert result.params.spec == task.spec
    first = task.initial(0)
    for name, moves in {"backbone.weight": False, "backbone.bias": False, "head.weight": True}.items():
        assert np.array_equal(result.params.view(name), first.view(name)) is not moves
    head = 50 * 3 + 3
    for way in ("up/cloud", "down/cloud"):  # Of a round that is not the first, with which the frozen ones come.
        assert 4 * 4 * head <= result.history[1][way] - result.history[0][way] < 4 * 4 * (head + 4 * 50)
    assert result.metrics == {}, "there is no test set"
    result.params.view("head.weight")[:] = 0.0
    assert task.evaluate(result.params, shifted()["client-0"])["count"] == 40


def test_a_frozen_model_trains_as_one_whose_backbone_is_a_buffer() -> None:
    """Buffers are averaged, and the mean of what is equal is what it was."""

    class Buffered(Transferred):
        def __init__(self) -> None:
            super().__init__()
            for name in ("weight", "bias"):
                value = getattr(self.backbone, name).detach()
                delattr(self.backbone, name)
                self.backbone.register_buffer(name, value)

    frozen, buffered = (simulate(FedAvg(), fogline.Task(kind, shifted())) for kind in (Transferred, Buffered))
    for name in frozen.params.spec.slices:
        np.testing.assert_array_equal(frozen.params.view(name), buffered.params.view(name))
    assert frozen.history[-1]["up/cloud"] < buffered.history[-1]["up/cloud"]


def test_a_model_that_changes_what_is_frozen_is_refused() -> None:
    with pytest.raises(
        CodeError, match=r"Client 'client-0': training changes 'backbone\.bias', a parameter that wants"
    ):
        simulate(FedAvg(), fogline.Task(Teaching, shifted()))
