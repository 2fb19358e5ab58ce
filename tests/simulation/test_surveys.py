"""Devices judge and answer in simulation: on what never trains, the same over a star and a tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fogline
from fogline import CodeError, FedAvg, JobError, Result, Tier, Tree
from fogline.algorithms import ClientUpdate
from fogline.algorithms.group import Down
from fogline.compute.surveys.queries import QUERIES, QueryError
from fogline.compute.surveys.survey import Examiner, Question, UnansweredError
from fogline.data import Examples, FederatedData, from_clients
from fogline.jobs.errors import check
from fogline.jobs.planning import planner
from fogline.params import Params, Vector
from fogline.simulation.setup import setting_of
from fogline.simulation.sizing import probe
from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.context import DeviceContext
from fogline.training.task import Task
from tests.toy import ToyTask, toy_data

TREE = Tree(cloud=Tier(), region=Tier(count=2), fog=Tier(count=4))
DEVICES = {"where": "devices", "share": 0.25}


def simulate(data: FederatedData | None = None, tree: Tree | None = None, **more: Any) -> Result:
    settings = {"rounds": 3, "processes": 0, "progress": False, "engine": "loop", "evaluation": DEVICES} | more
    return fogline.simulate(ToyTask(data), tree=tree, **settings)


def by_hand(task: Task, result: Result, data: FederatedData) -> list[dict[str, float]]:
    return [task.evaluate(result.params, data.judged(client)) for client in data]


def test_what_devices_find_is_what_one_finds_by_hand() -> None:
    task, data = ToyTask(), toy_data().with_parts_held_out(0.25, 0)
    result = simulate()
    sums = by_hand(task, result, data)
    figures = sorted(one["correct"] / one["count"] for one in sums)
    total = {name: sum(one[name] for one in sums) for name in sums[0]}
    assert result.metrics == pytest.approx(task.metrics(total))
    assert result.devices is not None
    assert result.devices.mean == pytest.approx(np.mean(figures))
    assert result.devices.std == pytest.approx(np.std(figures))
    assert result.devices.worst_decile == pytest.approx(figures[0])
    row = result.history[-1]
    assert (row["accuracy"], row["devices/judged"]) == (pytest.approx(result.metrics["accuracy"]), 12)


def test_what_is_held_out_never_trains() -> None:
    trains = toy_data().with_parts_held_out(0.25, 0)
    whole = FederatedData("toy", trains._source, trains.meaning, test=trains.test)  # pyright: ignore[reportPrivateUsage]
    there = fogline.simulate(ToyTask(whole), rounds=3, processes=0, progress=False, engine="loop")
    assert np.array_equal(simulate().params.vector, there.params.vector)


def test_a_tree_finds_what_a_star_finds_and_says_it_by_fog() -> None:
    star, tree = simulate(exact=True), simulate(tree=TREE, exact=True)
    assert star.metrics == tree.metrics
    assert star.devices == tree.devices
    assert tree.fogs is not None
    assert list(tree.fogs.values) == ["fog-0", "fog-1", "fog-2", "fog-3"]
    assert {name for name in tree.history[0] if name.startswith("at/")} == {f"at/fog-{i}" for i in range(4)}


def test_workers_find_the_same() -> None:
    assert (
        simulate(tree=TREE, processes=2).history[-1]["devices/mean"] == simulate(tree=TREE).history[-1]["devices/mean"]
    )


def test_the_cloud_judges_beside_devices_and_only_when_it_is_time() -> None:
    result = simulate(evaluation=DEVICES | {"where": "both", "every": 2}, rounds=5)
    judged = [row["round"] for row in result.history if "devices/mean" in row]
    assert judged == [2, 4, 5]
    task = ToyTask()
    assert result.metrics == task.metrics(task.evaluate(result.params, task.data.test))  # type: ignore[arg-type]


def test_devices_that_never_train_judge_too() -> None:
    data = toy_data().with_held_out(["client-03", "client-07"])
    task, result = ToyTask(), simulate(data)
    sums = [task.evaluate(result.params, data[client]) for client in ("client-03", "client-07")]
    total = {name: sum(one[name] for one in sums) for name in sums[0]}
    assert result.held_out == pytest.approx(task.metrics(total))
    assert result.devices is not None
    assert result.devices.count == 12


def test_training_before_judging_changes_what_is_found_and_nothing_else() -> None:
    plain, tuned = simulate(), simulate(evaluation=DEVICES | {"fine_tune": {"epochs": 5}})
    assert np.array_equal(plain.params.vector, tuned.params.vector)
    assert tuned.metrics["accuracy"] > plain.metrics["accuracy"]


def test_fewer_devices_than_the_minimum_give_no_answer() -> None:
    tree = Tree(minimum=5, cloud=Tier(deadline=60))
    result = simulate(tree=tree, rounds=1, evaluation=DEVICES | {"cohort": 3})
    assert (result.devices, result.metrics) == (None, {})
    assert "minimum is 5" in result.reasons["no answer"]


def test_a_device_that_drops_out_is_not_waited_for_longer_than_a_round() -> None:
    result = simulate(devices={"dropout": 0.3}, tree=Tree(cloud=Tier(deadline=60)), rounds=4)
    judged = [row["devices/judged"] for row in result.history if "devices/judged" in row]
    assert judged
    assert min(judged) < 12
    assert result.counts["dropped out when asked"] > 0


def test_a_run_that_goes_on_counts_what_devices_were_asked_before(tmp_path: Path) -> None:
    settings = {"rounds": 12, "folder": tmp_path / "run", "tree": TREE}
    whole = simulate(rounds=24, tree=TREE)
    simulate(**settings)
    again = simulate(**settings | {"rounds": 24, "resume": True})
    for name in ("devices/mean", "down/fog", "up/cloud", "joules"):
        assert again.history[-1][name] == pytest.approx(whole.history[-1][name])
    with pytest.raises(JobError, match=r"evaluation\.share cannot change"):
        simulate(**settings | {"rounds": 30, "resume": True, "evaluation": DEVICES | {"share": 0.5}})


def test_queries_are_answered_in_sums() -> None:
    data = toy_data()
    y = np.concatenate([data.at(i).y for i in range(len(data))])
    x = np.concatenate([data.at(i).array for i in range(len(data))]).astype(np.float64)
    histogram = "histogram(low=-1, high=2, bins=4, of='x')"
    result = simulate(tree=TREE, evaluation={}, queries=["label_counts", "moments(of='x')", histogram], rounds=1)
    counts, moments, bins = result.queries.values()
    assert counts == {f"count/{label}": float((y == label).sum()) for label in range(3)}
    assert moments["mean"] == pytest.approx(x.mean())
    assert moments["std"] == pytest.approx(x.std())
    assert [bins[f"bin/{i}"] for i in range(4)] == np.histogram(x, 4, (-1, 2))[0].tolist()
    assert bins["below"] == (x < -1).sum()
    assert "label_counts: count/0" in result.summary()


def test_class_numbers_that_the_data_does_not_call_classes_are_refused_with_what_to_say() -> None:
    members = {f"client-{k}": Examples(np.zeros((4, 2), np.float32), np.arange(4)) for k in range(2)}
    with pytest.raises(JobError, match=r"label_counts .*where they are classes, say classes= where the data is made"):
        fogline.query(ToyTask(from_clients("numbers", members)), "label_counts")


def test_queries_are_of_the_examples_that_train() -> None:
    data = toy_data().with_held_out(["client-03", "client-07"])
    result = simulate(data, tree=TREE, queries=["label_counts"], evaluation={})
    assert sum(result.queries["label_counts"].values()) == data.sizes().sum()
    assert "not judged" not in result.counts
    job = check({"queries": ["label_counts"]})
    asked = Examiner(ToyTask(data), FedAvg(), job, lambda _: pytest.fail("nobody trains"))
    down = Down(np.zeros(0, np.float32), np.zeros(0, np.int64))
    with pytest.raises(UnansweredError, match="'client-03' never trains"):
        asked.answer(Question("query", 0, "label_counts"), "client-03", down, {})


def test_a_share_has_no_target_above_one() -> None:
    with pytest.raises(JobError, match=r"The target is 90, but accuracy goes from 0 to 1; 90 % is 0\.9"):
        simulate(evaluation={"target": 90.0})


def test_a_query_needs_no_training_and_holds_to_the_minimum() -> None:
    data = toy_data()
    y = np.concatenate([data.at(i).y for i in range(len(data))])
    assert fogline.query(ToyTask(), "label_counts", TREE) == {f"count/{k}": float((y == k).sum()) for k in range(3)}
    with pytest.raises(RuntimeError, match="Too few devices answered 'label_counts'"):
        fogline.query(ToyTask(), "label_counts", Tree(minimum=12, cloud=Tier(deadline=60)), devices={"dropout": 0.5})
    with pytest.raises(JobError, match="There is no query 'label_count'"):
        fogline.query(ToyTask(), "label_count")


def test_a_wrong_judge_is_named_with_its_device() -> None:
    method = type("Mute", (FedAvg,), {"judge": lambda self, device: None})()
    with pytest.raises(CodeError, match=r"^Client 'client-\d+': Mute.judge gives the model as nothing"):
        simulate(algorithm=method, rounds=1)


def test_a_device_whose_judged_weights_are_not_finite_is_left_out_and_the_run_goes_on() -> None:
    """Its data may have led there, as they may in training."""

    class Rises(FedAvg):
        def judge(self, device: DeviceContext) -> Vector:
            model: Vector = device.model
            return model / np.float32(device.client != "client-00")

    with np.errstate(all="ignore"):
        result = simulate(algorithm=Rises(), rounds=2)
    assert result.devices is not None
    assert result.devices.count == 11
    (why,) = [why for what, why in result.reasons.items() if what == "not judged"]
    assert "Rises.judge gives a model in which" in why


WRONG_TASKS: dict[str, tuple[str, Any, str]] = {
    "a name that there is not": ("metrics", lambda sums: {"accuracy": sums["hits"]}, "raised KeyError: 'hits'"),
    "no headline": ("metrics", lambda sums: {"loss": 1.0}, "is wrong: it gives no 'accuracy', which is the headline"),
    "a text": ("metrics", lambda sums: {"accuracy": "n/a"}, "is wrong: it gives a str as 'accuracy'; it must give"),
    "a list": ("evaluate", lambda sums: list(sums), "is wrong: it gives a list; it must give a dictionary"),
    "an array": ("evaluate", lambda sums: sums | {"loss": np.ones(1)}, "is wrong: it gives a ndarray as 'loss'"),
    "fewer than none": (
        "evaluate",
        lambda sums: sums | {"count": -3},
        "is wrong: it gives -3 as 'count', which is of examples; it must be 0 or more",
    ),
    "too large": (
        "evaluate",
        lambda sums: sums | {"loss": 10**400},
        "is wrong: it gives a whole number as 'loss' that is too",
    ),
}


@pytest.mark.parametrize("where", ["devices", "cloud"])
@pytest.mark.parametrize("kind", WRONG_TASKS)
def test_a_task_whose_judging_is_wrong_ends_the_run_and_no_device_is_blamed(kind: str, where: str) -> None:
    """Such as that of a developer who misspelt the name of a sum."""
    method, gives, words = WRONG_TASKS[kind]

    class Wrong(ToyTask):
        def evaluate(self, params: Params, examples: Examples) -> Any:
            sums = super().evaluate(params, examples)
            return gives(sums) if method == "evaluate" else sums

        def metrics(self, sums: dict[str, float]) -> Any:
            return gives(sums) if method == "metrics" else super().metrics(sums)

    with pytest.raises(CodeError, match=rf"Wrong.{method} {words}.*test_surveys.py, line \d+"):
        fogline.simulate(Wrong(), rounds=1, processes=0, progress=False, evaluation={"where": where})


def test_a_metric_without_a_value_on_one_device_leaves_that_device_out() -> None:
    """A division by zero, where a device has no example of a class."""

    class Rare(ToyTask):
        def metrics(self, sums: dict[str, float]) -> dict[str, float]:
            return super().metrics(sums) | {"per miss": 1.0 / (sums["count"] - sums["correct"])}

    data = toy_data(clients=6)
    result = fogline.simulate(
        Rare(data), rounds=8, processes=0, progress=False, evaluation={"where": "devices", "share": 0.1, "every": 8}
    )
    (why,) = [why for what, why in result.reasons.items() if what == "not judged"]
    assert "Rare.metrics raised ZeroDivisionError" in why
    assert result.devices is not None
    assert 0 < result.devices.count < 6


@QUERIES.add("choosy")
def choosy(examples: Examples, least: int) -> Any:
    """Looks at its own parameters."""
    if least > 1:
        raise QueryError(f"least is {least}; it must be below 2")
    return {"count": float(examples.count)}


@QUERIES.add("enormous")
def enormous(examples: Examples) -> Any:
    """Sums that are beyond what may be added up."""
    with np.errstate(over="ignore"):
        return {"sum": float(np.square(np.full(2, 1e300)).sum())}


def test_a_sum_that_overflows_is_told_with_client_and_name_and_is_no_nan() -> None:
    result = simulate(evaluation={}, queries=["enormous", "label_counts"], rounds=1)
    assert result.queries["enormous"] == {}
    assert sum(result.queries["label_counts"].values()) == 12 * 20
    (said,) = {why for what, why in result.reasons.items() if "answer" not in what}
    assert "query 'enormous' on client 'client-" in said
    assert "gives 'sum' as inf; sums go up to 1e+290" in said


def test_a_model_to_be_judged_goes_through_the_stages_of_the_roots_downlink_and_costs_its_bytes() -> None:
    staged = Tree(cloud=Tier(downlink=["int8"]), fog=Tier(count=2))
    judged, unjudged = simulate(tree=staged), simulate(tree=staged, evaluation={})
    # In twelve numbers there is room for an error that shows.
    task, data = ToyTask(), toy_data().with_parts_held_out(0.25, 0)
    sums = by_hand(task, judged, data)
    plain = sum(one["loss"] for one in sums) / sum(one["count"] for one in sums)
    assert judged.metrics["loss"] != plain
    assert judged.metrics["loss"] == pytest.approx(plain, rel=0.05)
    setting = setting_of(judged.job, ToyTask())
    size = probe(setting).of("cloud", 0).down
    assert size != probe(setting).down
    extra = {
        tier: judged.history[-1][f"down/{tier}"] - unjudged.history[-1][f"down/{tier}"] for tier in ("cloud", "fog")
    }
    asked, control = 2, 128  # A judgement stands in the row after; and there are receipts.
    assert extra == {"cloud": asked * 2 * (size + control), "fog": asked * 12 * (size + control)}


NO_SUMS = {"nothing": None, "list": [1.0], "text": {"a": "x"}, "key": {3: 1.0}, "array": {"a": np.ones(2)}}


@QUERIES.add("no_sums")
def no_sums(examples: Examples, kind: str) -> Any:
    """What a query must not give."""
    return NO_SUMS[kind]


@pytest.mark.parametrize("kind", NO_SUMS)
def test_a_query_that_gives_no_sums_is_named(kind: str) -> None:
    words = rf"query 'no_sums\(kind='{kind}'\)' on client '.*' raised TypeError: it gives .*; it must give"
    with pytest.raises(CodeError, match=words):
        simulate(evaluation={}, queries=f"no_sums(kind='{kind}')", rounds=1)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("label_count", "There is no query 'label_count'; did you mean 'label_counts'?"),
        ("moments(3)", "Parameter 'of' of query 'moments' is 3; it wants a str"),
        ("import os", "'import os' cannot be read; write a name, or name(0.1), or name(key=0.1)"),
        ("histogram(high=1)", "Query 'histogram' wants a value for low"),
        ("label_counts(of='x')", "Query 'label_counts' has no parameter 'of'; it has none"),
        ("histogram(low=1, high=0)", "cannot be asked: it needs finite numbers with low < high, not low=1 and high=0"),
        ("histogram(low=0, high=1e999)", "it needs finite numbers with low < high, not low=0 and high=inf"),
        ("histogram(low=0, high=1, bins=0)", "cannot be asked: it has 1 to 100,000 bins, not 0"),
        ("histogram(low=0, high=1, bins=10**9)", "cannot be read; write a name"),
        ("histogram(low=0, high=1, bins=1000000)", "it has 1 to 100,000 bins, not 1,000,000"),
        ("histogram(low=0, high=1, bins=2.5)", "Parameter 'bins' of query 'histogram' is 2.5; it wants an int"),
        ("histogram(low='a', high=1)", "Parameter 'low' of query 'histogram' is 'a'; it wants a float"),
        ("moments(of='z')", "The query 'moments(of='z')' cannot be asked: there is no 'z' to ask for"),
        ("choosy(least=3)", "The query 'choosy(least=3)' cannot be asked: least is 3; it must be below 2"),
    ],
)
def test_what_is_no_query_is_a_sentence(query: str, words: str) -> None:
    with pytest.raises(JobError) as caught:
        simulate(queries=[query])
    assert words in str(caught.value)


class Halved(FedAvg):
    """A device is judged with half of what it has received, and what it keeps of it."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        update = super().report(device)
        return ClientUpdate(update.terms, {"shift": device.end - device.model})

    def judge(self, device: DeviceContext) -> Vector:
        return device.model * 0.5 + device.local["shift"]


def test_a_method_says_with_which_weights_a_device_is_judged() -> None:
    data = toy_data().with_parts_held_out(0.25, 0)
    judged = fogline.simulate(
        ToyTask(), Halved(), rounds=1, processes=0, progress=False, engine="loop", evaluation=DEVICES
    )
    assert np.array_equal(judged.params.vector, simulate(rounds=1).params.vector), "training is the same"

    task, sums = ToyTask(data), list[dict[str, float]]()
    start = task.initial(0)
    engine = task.build("loop", LocalMethod(), LocalTraining())
    planned = planner(judged.job, task.data, Halved())
    for place, client in enumerate(data.clients):
        plan = planned(place, 0, 0)
        job = ClientJob(place, start.vector, start.counters, plan.steps, plan.learning_rate, plan.seed)
        shift = engine.moved([job])[0].end
        vector = judged.params.vector * 0.5 + shift
        sums.append(task.evaluate(Params(task.spec, vector, start.counters), data.judged(client)))
    assert judged.metrics["loss"] == pytest.approx(sum(s["loss"] for s in sums) / sum(s["count"] for s in sums))


def test_where_devices_judge_another_model_they_judge_the_one_received_too() -> None:
    """As FedAvg's devices find it, which received the same."""
    plain, tuned = simulate(tree=TREE), simulate(tree=TREE, evaluation=DEVICES | {"fine_tune": {"epochs": 2}})
    assert plain.common is None
    assert not any(name.startswith("common/") for name in plain.history[-1])
    assert tuned.common == plain.devices
    assert tuned.devices is not None
    assert tuned.devices.mean > tuned.common.mean
    assert 0 < tuned.history[-1]["common/better"] <= 12
    assert "With the common model" in tuned.summary()
    alone = simulate(evaluation=DEVICES | {"fine_tune": {"epochs": 2, "learning_rate": 1e-9}})
    assert alone.common is not None
    assert alone.metrics["loss"] == pytest.approx(simulate().metrics["loss"], rel=1e-6)
    assert alone.history[-1]["common/better"] == 12
