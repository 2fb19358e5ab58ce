"""Clients that were written for Flower: what Flower's own strategies make of them, in a star and in a tree."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportReturnType=false
from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fogline
from fogline import CodeError, Evaluation, FedAvg, Job, JobError, Local, Privacy, RunError, Tier, Tree
from fogline.algorithms.registry import make
from fogline.audit import audit_leaks
from fogline.monitoring.result import Result

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fogline[flwr]' (docs/from-flower.md)")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FedAvg as OldStrategy
from flwr.serverapp.strategy import FedAvg as Strategy

from fogline.training.flwr import FlowerTask
from fogline.training.flwr.client import FlowerClients
from tests.training import flower_clients
from tests.training.flower_clients import Net

CLIENTS, ROUNDS, EPOCHS = 4, 3, 2
TREES = {"star": Tree(cloud=Tier()), "tree": Tree(cloud=Tier(), fog=Tier(count=2))}


def rate(round_: int) -> dict[str, float]:
    return {"lr": 0.4 / round_}


def task_of(app: Any, **more: Any) -> FlowerTask:
    more = {"run_config": {"local-epochs": EPOCHS}, "train_config": rate, **more}
    return FlowerTask(app, CLIENTS, **more)


def new_task(**more: Any) -> FlowerTask:
    return task_of(flower_clients.app, **{"initial": Net, "headline": "eval_loss", **more})


TASKS: dict[str, Callable[[], FlowerTask]] = {
    "client_fn": lambda: task_of(flower_clients.client_fn),
    "old app": lambda: task_of(flower_clients.old_app),
    "new app": new_task,
}


def run(task: FlowerTask, method: FedAvg | None = None, tree: str | Tree = "star", **more: Any) -> Result:
    more = {"rounds": ROUNDS, "processes": 0, "evaluation": Evaluation(where="devices"), **more}
    return fogline.simulate(
        task, method or FedAvg(), TREES[tree] if isinstance(tree, str) else tree, progress=False, **more
    )


def context_of(client: int) -> Context:
    return Context(
        1, client + 2, {"partition-id": client, "num-partitions": CLIENTS}, RecordDict(), {"local-epochs": 2}
    )


def by_old_strategy() -> list[np.ndarray]:
    """Three rounds of the older strategy: its arithmetic, without its server."""
    arrays, strategy = Net().get_weights(), OldStrategy()
    for round_ in range(1, ROUNDS + 1):
        results = []
        for client in range(CLIENTS):
            made = flower_clients.client_fn(context_of(client)).numpy_client
            end, count, metrics = made.fit([array.copy() for array in arrays], rate(round_))
            results.append((None, FitRes(Status(Code.OK, ""), ndarrays_to_parameters(end), count, metrics)))
        merged, _ = strategy.aggregate_fit(round_, results, [])
        assert merged is not None
        arrays = parameters_to_ndarrays(merged)
    return arrays


def by_new_strategy(monkeypatch: pytest.MonkeyPatch) -> tuple[ArrayRecord, MetricRecord, MetricRecord]:
    """Three rounds of today's strategy: the model, what training said in the last round, and judging after it."""
    monkeypatch.setattr("flwr.supercore.task_identity.TaskIdentity._run_id", 1)
    monkeypatch.setattr("flwr.supercore.task_identity.TaskIdentity._node_id", 1)
    monkeypatch.setattr("flwr.supercore.task_identity.TaskIdentity._task_id", 1)
    arrays, strategy = ArrayRecord({name: Array(array) for name, array in Net().state_dict().items()}), Strategy()
    trained = MetricRecord()

    def replies(kind: str, config: dict[str, float]) -> list[Message]:
        made: list[Message] = []
        for client in range(CLIENTS):
            content = RecordDict({"arrays": arrays, "config": ConfigRecord(config)})
            message = Message(content, dst_node_id=client + 2, message_type=kind)
            made.append(flower_clients.app(message, context_of(client)))
        return made

    for round_ in range(1, ROUNDS + 1):
        arrays, trained = strategy.aggregate_train(round_, replies("train", rate(round_) | {"server-round": round_}))
    return arrays, trained, strategy.aggregate_evaluate(ROUNDS, replies("evaluate", {}))


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("style", ["client_fn", "old app"])
def test_a_numpy_client_gives_what_flowers_strategy_gives(style: str, tree: str) -> None:
    wanted = by_old_strategy()
    assert np.abs(wanted[0] - Net().weight).max() > 0.1, "it has learned something"
    found = run(TASKS[style](), tree=tree).params.arrays()
    for name, array in zip(("0", "1"), wanted, strict=True):
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tree", TREES)
def test_a_client_app_gives_what_flowers_strategy_gives(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, trained, judged = by_new_strategy(monkeypatch)
    result = run(new_task(), tree=tree)
    for name, array in arrays.items():
        np.testing.assert_allclose(result.params.arrays()[name], array.numpy(), rtol=0, atol=1e-6)
    row = result.history[-1]
    assert row["metric/train_loss"] == pytest.approx(trained["train_loss"], abs=1e-6)
    assert {name: row[f"devices/{name}"] for name in judged} == pytest.approx(dict(judged), abs=1e-6)
    assert result.metrics["eval_loss"] == row["eval_loss"]


@pytest.mark.parametrize("style", TASKS)
def test_workers_give_the_same_bits(style: str) -> None:
    task = TASKS[style]()
    alone, workers = (run(task, tree="tree", processes=processes) for processes in (0, 2))
    assert alone.params.vector.tobytes() == workers.params.vector.tobytes()
    assert [row["metric/train_loss"] for row in alone.history] == [row["metric/train_loss"] for row in workers.history]


def test_methods_of_the_server_and_stages_and_secure_aggregation_go_together_with_it() -> None:
    plain = run(new_task(), make("fedadam", server_rate=0.01), "tree").params.vector
    assert np.abs(plain - run(new_task(), tree="tree").params.vector).max() > 1e-3
    stages = {"uplink": ["clip(norm=100)", "int8"]}
    coded = run(new_task(), tree=Tree(cloud=Tier(uplink=stages["uplink"]))).params.vector
    np.testing.assert_allclose(coded, run(new_task()).params.vector, atol=0.02)
    judged = {"evaluation": Evaluation(where="cloud")}
    secret = run(new_task(), tree=Tree(cloud=Tier(exchange="secagg")), **judged).params.vector
    np.testing.assert_allclose(secret, run(new_task(), **judged).params.vector, atol=1e-4)


def test_layers_may_stay_on_devices() -> None:
    result = run(new_task(), FedAvg(private=("fc.bias",)))
    assert [entry.name for entry in result.params.spec.entries] == ["fc.weight"]
    assert result.metrics["eval_loss"] < run(new_task(), rounds=1).metrics["eval_loss"]


FIRST = {"a": np.zeros(2, np.float32), "batches": np.array(3), "b": np.zeros((1, 2), np.float64)}
"""Integers amid floats."""


class Recording(NumPyClient):
    """Moves numbers by what it draws, and by its place."""

    def __init__(self, client: int = 0) -> None:
        self.client = client

    def fit(self, parameters: Any, config: Any) -> Any:
        a, batches, b = parameters
        assert (a.shape, a.dtype, batches.shape, batches.dtype, b.dtype) == ((2,), "f4", (), "i8", "f8")
        return [a + np.float32(np.random.normal()), batches + self.client, b + self.client], 1, {}

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return float(np.random.normal()), 5, {"of": [1.0, config["five"]]}


def recording(context: Context) -> Any:
    return Recording(context.node_config["partition-id"]).to_client()


def recorded(**more: Any) -> FlowerTask:
    return FlowerTask(recording, CLIENTS, initial=lambda: FIRST, evaluate_config={"five": 5.0}, **more)


def test_arrays_keep_their_order_and_types_and_what_is_drawn_repeats() -> None:
    results = [run(recorded(), processes=processes) for processes in (0, 0, 2)]
    found = results[0].params.arrays()
    np.testing.assert_allclose(found["b"], [[4.5, 4.5]])
    assert found["batches"] == 3 + 3 * 3, "of whole numbers the largest is kept"
    assert found["a"][0] == found["a"][1] != 0
    assert len({result.params.vector.tobytes() for result in results}) == 1
    assert len({result.metrics["loss"] for result in results}) == 1
    assert results[0].metrics["of/1"] == 5
    other = run(recorded(), seed=1).params.arrays()
    assert other["a"][0] != found["a"][0]


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("scaffold", "the method overrides adjust_gradient, and a Flower client trains by its own code"),
        ("fedprox", "the method overrides adjust_gradient, and a Flower client trains by its own code"),
        ("scaffnew", "the method overrides work, and a Flower client trains by its own code"),
        ("ditto", "the method overrides work, and a Flower client trains by its own code"),
        ("fednova", "FedNova.report raised AttributeError: device.plan.steps is not there: the device trains by code"),
        (
            "fedsgd",
            "FedSGD sets local.batch_size, local.steps, and devices of task 'flower' train by code",
        ),
    ],
)
def test_methods_that_see_steps_are_refused(method: str, why: str) -> None:
    with pytest.raises((JobError, CodeError), match=why):
        run(new_task(), make(method))


class Counting(FedAvg):
    """Looks at examples, and may say so."""

    says: bool = True

    def looks_at_examples(self) -> bool:
        return self.says

    def report(self, device: Any) -> Any:
        return super().report(device)._replace(metrics={"examples": device.examples.count})


def test_examples_are_shown_to_no_hook() -> None:
    with pytest.raises(JobError, match="Counting looks at devices' examples, and devices of task 'flower' train by"):
        run(new_task(), Counting())
    with pytest.raises((CodeError, RunError), match="one that trains by code of its own keeps them to itself"):
        run(new_task(), Counting(says=False))


@pytest.mark.parametrize("method", ["fedasync", "fedbuff", "fedexp", "fedavgm", "hierfavg"])
def test_methods_that_see_rounds_train(method: str) -> None:
    result = run(new_task(), make(method), rounds=8)
    assert result.metrics["eval_loss"] < result.history[0]["eval_loss"]


def test_a_clip_and_noise_want_a_client_that_says_nothing_beside_its_model() -> None:
    protected = {
        "privacy": Privacy(unit="device", clip=1.0, noise=1e-3, delta=1e-5),
        "evaluation": Evaluation(where="cloud"),
        "rounds": 2,
    }
    with pytest.raises(JobError, match="It reports 'metric/train_loss' beside its movement"):
        run(new_task(), **protected)
    assert np.isfinite(run(new_task(metrics=[]), **protected).params.vector).all()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"local": Local(epochs=2)}, "local.epochs is 2, and devices of task 'flower' train by code of their own"),
        ({"local": Local(work=(0.5, 1.0))}, "local.work is"),
        ({"queries": ("moments",)}, "queries has 'moments'"),
        ({"evaluation": Evaluation(where="devices", fine_tune={"epochs": 1})}, "evaluation.fine_tune says how much"),
        ({"tree": Tree(cloud=Tier(policy="timelyfl"))}, "cloud.policy is 'timelyfl', which asks devices for part"),
        (
            {
                "privacy": Privacy(unit="example", clip=1.0, noise=1.0, delta=1e-5),
                "evaluation": Evaluation(where="cloud"),
            },
            "cannot clip the gradient of each",
        ),
        ({"evaluation": Evaluation(where="devices", baselines=("pooled",))}, "evaluation.baselines has 'pooled'"),
        (
            {"attack": "label_flip"},
            "LabelFlip changes devices' examples, and those of task 'flower' are",
        ),
        ({"engine": "stacked"}, "There is no engine 'stacked'"),
    ],
)
def test_what_a_client_would_not_see_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises((JobError, ValueError), match=why):
        run(new_task(), **settings)


@pytest.mark.parametrize(
    ("app", "more", "why"),
    [
        ("my.client_app:app", {}, "give the ClientApp itself, or its client_fn"),
        (flower_clients.app, {}, "the clients give no first model"),
        (recording, {}, "the clients give no first model"),
        (flower_clients.app, {"initial": 5}, "initial gives a int"),
        (flower_clients.app, {"initial": ["x"]}, "Tensor '0' has type str"),
    ],
)
def test_what_is_no_client_or_no_model_is_refused(app: Any, more: dict[str, Any], why: str) -> None:
    with pytest.raises((ValueError, CodeError), match=why):
        task_of(app, **more)


COUNTS = {"part of a number": np.array(3.5), "no number": np.array(np.nan), "too large": np.array(1e30)}


class Odd(Recording):
    """Does what a client must not, or what one client's data may do."""

    def fit(self, parameters: Any, config: Any) -> Any:
        what = config["what"]
        if what == "raises" and self.client == 2:
            raise ValueError("the disk is gone")
        if what == "bug":
            return self.nothing  # type: ignore[attr-defined]
        end, _, _ = super().fit(parameters, config)
        if what == "nan" and self.client == 2:
            end[0][0] = np.nan
        if what == "fewer":
            end = end[1:]
        if what in COUNTS:
            end[1] = COUNTS[what]
        if what == "complex":
            end[0] = end[0] * 1j
        return end, 0 if what == "none" else 3, {"who": "me", "x": 1.0}


def odd(what: str, **more: Any) -> FlowerTask:
    def client_fn(context: Context) -> Any:
        if what == "state":
            context.state["mine"] = MetricRecord({"seen": 1})
        return Odd(context.node_config["partition-id"]).to_client()

    more = {
        "initial": lambda: FIRST,
        "train_config": {"what": what},
        "evaluate_config": {"five": 5.0},
        **more,
    }
    return FlowerTask(client_fn, CLIENTS, **more)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("state", "it keeps 'mine' in context.state, which is not kept from round to round here"),
        ("text", "it gives the metric 'who' as str, and the history has numbers only"),
        ("bug", r"AttributeError: 'Odd' object has no attribute 'nothing' \(.*test_flwr.py, line"),
    ],
)
def test_what_is_wrong_on_every_device_ends_the_run(what: str, why: str) -> None:
    with pytest.raises(CodeError, match=why):
        run(odd(what))


@pytest.mark.parametrize("what", ["raises", "nan"])
def test_one_device_that_fails_is_left_out(what: str) -> None:
    result = run(odd(what, metrics=["x", "loss"]))
    assert result.history[-1]["devices"] == CLIENTS - 1
    np.testing.assert_allclose(result.params.arrays()["b"], 3 * (0 + 1 + 3) / 3)
    assert result.history[-1]["metric/x"] == 1
    assert "metric/who" not in result.history[-1]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("fewer", "it gives 2 arrays, and the model has 3"),
        ("none", "it has trained on 0 examples; its weight must be"),
        ("complex", "it gives 'a' as complex64, and the model has float32"),
        *((what, "it gives 'batches' with numbers that are none of int64") for what in COUNTS),
    ],
)
def test_a_run_in_which_all_fail_says_why(what: str, why: str) -> None:
    with pytest.raises(RunError, match=why):
        run(odd(what, metrics=["x", "loss"]))


class Some(Recording):
    """Only one tells how right it is."""

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return 1.0 + self.client, 5 * (1 + self.client), {"acc": 0.5} if self.client == 2 else {}


def test_a_metric_that_few_give_is_their_mean() -> None:
    task = FlowerTask(
        lambda context: Some(context.node_config["partition-id"]).to_client(), CLIENTS, initial=lambda: FIRST
    )
    metrics = run(task, rounds=1).metrics
    assert metrics == pytest.approx({"acc": 0.5, "loss": (1 + 2 * 2 + 3 * 3 + 4 * 4) / 10})


def test_what_each_device_reaches_alone_is_as_many_rounds_of_its_own() -> None:
    made = run(new_task(), evaluation=Evaluation(where="devices", baselines=("alone",))).baselines["alone"]
    assert (made.steps, made.failures) == (CLIENTS * ROUNDS, 0)
    assert made.metrics["eval_loss"] > 0


def test_there_is_no_leak_audit_of_what_nobody_sees() -> None:
    with pytest.raises(JobError, match="The leak audit compares what it finds with devices' examples"):
        audit_leaks(Job(task="x:y"), new_task())


def test_a_handler_that_gives_nothing_is_told() -> None:
    app = ClientApp()
    app.train()(lambda msg, context: None)
    with pytest.raises(CodeError, match="its handler of 'train' gives a NoneType; it must give a Message"):
        run(FlowerTask(app, CLIENTS, initial=Net))


def test_a_handler_without_a_weight_is_told() -> None:
    with pytest.raises(CodeError, match="train gives no number 'examples' in its MetricRecord, which is its weight"):
        run(new_task(weighted_by="examples"))


def test_nothing_is_said_over_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("somebody calls home")

    monkeypatch.setattr(socket.socket, "connect", connect)
    run(new_task())
    assert FlowerClients(ClientApp(), 1, {}, {}, "n", None).are_made is False


def test_a_job_asks_for_its_package() -> None:
    from fogline.governance.policy.machine import local_offers
    from fogline.governance.policy.terms import Policy

    assert "flwr" in local_offers(Policy()).frameworks
    assert Job(task="x:y", needs={"frameworks": ["flwr"]}).needs.frameworks == ("flwr",)
