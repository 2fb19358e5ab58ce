"""What the hooks of a device see in a run, and what comes of what they say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fogline
from fogline import FedAvg, Task, Tier, Tree
from fogline.aggregation import fold_named
from fogline.algorithms import AggregatorContext, ClientUpdate, hooks, make
from fogline.algorithms.device import run_cohort
from fogline.algorithms.methods.fedmd import FedMD, distance
from fogline.data import Examples, from_clients
from fogline.jobs import JobError
from fogline.training import ClientJob, DeviceContext, LocalTraining
from fogline.training.torch import models
from fogline.user_code.bugs import CodeError

SIZES = (6, 9, 14, 20, 7, 11)
QUIET: dict[str, Any] = {"processes": 0, "progress": False, "rounds": 2, "local": {"steps": 3, "batch_size": 4}}
FOGS = Tree(cloud=Tier(), fog=Tier(count=2))


def task_of(model: Any = lambda: models.mlp(5, (6,), 3), public: Any = None) -> Task:
    rng = np.random.default_rng(0)
    clients = {
        f"c{i}": Examples(rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 3, n))
        for i, n in enumerate(SIZES)
    }
    return Task(model, from_clients("some", clients, classes=3, test=clients["c3"], public=public))


class Telling(FedAvg):
    """Says of every device how many examples it has, and what its loss was before and after."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        before, after = (device.loss_at(weights, device.examples) for weights in (device.start, device.end))
        told = {"examples": device.examples.count, "gain": before - after, "round": device.round}
        return super().report(device)._replace(metrics=told)


@pytest.mark.parametrize("tree", [Tree(), FOGS, Tree(cloud=Tier(), fog=Tier(count=2, rounds=2))])
@pytest.mark.parametrize("processes", [0, 2])
def test_metrics_come_back_as_means_weighted_by_examples(tree: Tree, processes: int) -> None:
    result = fogline.simulate(task_of(), Telling(), tree, **(QUIET | {"processes": processes, "chunk": 2}))
    sizes = np.array(SIZES)
    for row in result.history:
        assert row["metric/examples"] == pytest.approx((sizes**2).sum() / sizes.sum())
        assert row["metric/gain"] > 0
    assert set(result.frame().columns) >= {"metric/examples", "metric/gain", "metric/round"}


def test_metrics_change_nothing_else() -> None:
    told, plain = (
        fogline.simulate(task_of(), method, FOGS, engine="loop", **QUIET) for method in (Telling(), FedAvg())
    )
    np.testing.assert_array_equal(told.params.vector, plain.params.vector)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"norm": "large"}, r"Wrong.report gives a str as the metric 'norm'; it must be a number"),
        (3, r"Wrong.report gives an int as metrics; it must be a dictionary of numbers"),
    ],
)
def test_metrics_that_are_none_are_named(said: Any, words: str) -> None:
    class Wrong(FedAvg):
        def report(self, device: DeviceContext) -> ClientUpdate:
            return super().report(device)._replace(metrics=said)

    with pytest.raises(CodeError, match=words):
        fogline.simulate(task_of(), Wrong(), **QUIET)


def context(task: Task, client: int = 1, end: Any = None, seed: int = 5) -> DeviceContext:
    first = task.initial(0)
    job = ClientJob(client, first.vector, first.counters, 3, 0.1, seed, round=4, common_seed=6)
    return DeviceContext(task, job, end=end)


def test_the_model_as_functions() -> None:
    task = task_of()
    device, module = context(task), task.untrained().eval()
    weights = device.start * 1.5
    task.layout.load(module, weights, np.zeros(0, np.int64))
    x, y = torch.tensor(device.examples.x), torch.tensor(device.examples.y)
    outputs = module(x)
    loss = nn.functional.cross_entropy(outputs, y)
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
    np.testing.assert_allclose(device.outputs_at(weights, device.examples), outputs.detach(), rtol=1e-5)
    np.testing.assert_allclose(device.features_at(weights, device.examples), module[:-1](x).detach(), rtol=1e-5)
    assert device.loss_at(weights, device.examples) == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(device.gradient_at(weights, device.examples), slope, rtol=1e-4, atol=1e-7)


def test_a_gradient_may_be_that_of_a_loss_of_ones_own() -> None:
    task = task_of(public=Examples(np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32), np.zeros(7, int)))
    device, module = context(task), task.untrained().eval()
    scores = np.random.default_rng(2).normal(size=(7, 3)).astype(np.float32)
    given = Examples(device.public.x, scores)
    task.layout.load(module, device.start.copy(), np.zeros(0, np.int64))
    loss = (module(torch.tensor(device.public.x)) - torch.tensor(scores)).abs().mean()
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
    for own in (distance, lambda outputs, wanted: (outputs - wanted).abs().mean()):
        found = device.gradient_at(device.start, given, own)
        np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match=r"public examples are asked for, and the data set 'some' has none; give it"):
        _ = context(task_of()).public


class Pulled(FedAvg):
    """Adds to every step's loss what a gradient under other weights is worth, with a loss of its own."""

    def adjust_loss(self, loss: Any, batch: Any, device: DeviceContext) -> Any:
        slope = device.gradient_at(device.start, batch, lambda outputs, _: (outputs**2).mean())
        return loss + 0.1 * (slope**2).sum() * loss


def test_engines_agree_on_a_gradient_of_a_loss_of_ones_own() -> None:
    runs = [fogline.simulate(task_of(), Pulled(), engine=e, **QUIET).params.vector for e in ("loop", "flat", "stacked")]
    plain = fogline.simulate(task_of(), FedAvg(), engine="loop", **QUIET).params.vector
    for vector in runs[1:]:
        np.testing.assert_allclose(vector, runs[0], rtol=1e-4, atol=1e-6)
    assert not np.allclose(runs[0], plain, atol=1e-6)


@pytest.mark.parametrize("weights", [np.zeros(3, np.float32), None, 3])
def test_weights_that_are_not_the_models_are_refused(weights: Any) -> None:
    device = context(task_of())
    for function in (device.outputs_at, device.features_at, device.loss_at, device.gradient_at):
        with pytest.raises(ValueError, match=r"the model has weights \(\d+,\), and is asked for with"):
            function(weights, device.examples)


def test_a_device_can_only_be_read() -> None:
    device = context(task_of())
    for array in (device.start, device.model, device.examples.x, device.examples.y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError, match=r"device\.end is there in report only"):
        _ = device.end


def test_random_numbers_are_the_devices_own_or_the_rounds() -> None:
    task = task_of()
    one, again, other = context(task), context(task), context(task, client=2, seed=9)
    assert one.rng.random() == again.rng.random() != other.rng.random()
    assert one.common_rng.random() == again.common_rng.random() == other.common_rng.random()


def test_features_of_a_model_that_has_none() -> None:
    task = task_of(lambda: nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 5), nn.Flatten()))
    with pytest.raises(ValueError, match="this model has no linear layer"):
        context(task).features_at(context(task).start, context(task).examples)


class Elsewhere(FedAvg):
    """Begins at half of the weights, and is judged at a third."""

    def begin(self, device: DeviceContext) -> np.ndarray:
        return device.model * 0.5

    def judge(self, device: DeviceContext) -> np.ndarray:
        return device.model / 3


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_begin_says_where_training_starts(engine: str) -> None:
    task, local = task_of(), LocalTraining(steps=3, batch_size=4)
    first = task.initial(0)
    job = ClientJob(1, first.vector, first.counters, 3, local.learning_rate, 5)
    built = task.build(engine, FedAvg(), local)
    (done,) = run_cohort(built, Elsewhere(), task, [job])
    (half,) = built.train([ClientJob(1, first.vector * 0.5, first.counters, 3, local.learning_rate, 5)])
    assert done.update is not None
    np.testing.assert_allclose(done.update.vectors["delta"], half.end - first.vector * 0.5, rtol=1e-3, atol=1e-6)
    judged = hooks.judge(Elsewhere(), context(task))
    np.testing.assert_allclose(judged, first.vector / 3, rtol=1e-6)


class Batches(FedAvg):
    """Devices differ in steps, batches and rates."""

    def work(self, plan: Any, device: Any) -> Any:
        place = int(device.client[1:])
        return plan.replace(steps=place + 1, batch_size=2 + place % 3, learning_rate=0.01 * (1 + place % 2))


def test_engines_agree_where_devices_differ_in_what_they_do() -> None:
    runs = {e: fogline.simulate(task_of(), Batches(), FOGS, engine=e, **QUIET) for e in ("loop", "flat", "stacked")}
    plain = fogline.simulate(task_of(), FedAvg(), FOGS, engine="loop", **QUIET).params.vector
    for engine in ("flat", "stacked"):
        np.testing.assert_allclose(
            runs[engine].params.vector, runs["loop"].params.vector, rtol=1e-4, atol=1e-6, err_msg=engine
        )
    assert not np.allclose(runs["loop"].params.vector, plain, atol=1e-5)
    with_workers = fogline.simulate(task_of(), Batches(), FOGS, engine="loop", **(QUIET | {"processes": 2, "chunk": 1}))
    np.testing.assert_array_equal(with_workers.params.vector, runs["loop"].params.vector)


def test_the_virtual_clock_knows_how_much_is_done() -> None:
    class Twice(FedAvg):
        def work(self, plan: Any, device: Any) -> Any:
            return plan.replace(steps=plan.steps * 40)

    slow, fast = (fogline.simulate(task_of(), m, **QUIET).history[-1]["seconds"] for m in (Twice(), FedAvg()))
    assert slow > fast


class Plain(FedAvg):
    """SGD, written down as one would without a framework; each device trains a second copy beside, and drops it."""

    rate: float = 0.05

    def local_round(self, device: Any) -> Any:
        module = device.module(device.start)
        optimizer, steps = torch.optim.SGD(module.parameters(), self.rate), 0
        for batch in device.batches():
            optimizer.zero_grad()
            device.loss(module(batch.inputs), batch).backward()
            optimizer.step()
            steps += 1
        return device.trained(module, metrics={"steps": steps})


def test_a_local_round_of_ones_own_is_what_it_says() -> None:
    settings = QUIET | {"local": {"steps": 3, "batch_size": 4, "learning_rate": 0.05}}
    own = fogline.simulate(task_of(), Plain(), FOGS, **settings)
    usual = fogline.simulate(task_of(), FedAvg(), FOGS, engine="loop", **settings)
    np.testing.assert_allclose(own.params.vector, usual.params.vector, rtol=1e-6)
    assert own.job.engine == "loop"
    assert own.history[-1]["metric/steps"] == 3
    assert own.history[-1]["train_loss"] == pytest.approx(usual.history[-1]["train_loss"])
    with pytest.raises(JobError, match=r"trains by itself \(local_round\), which only 'loop' lets it do"):
        fogline.simulate(task_of(), Plain(), engine="stacked", **QUIET)


class Passes(FedAvg):
    """Goes over its examples as often as its parts say, and says what it saw."""

    parts: tuple[int | None, ...] = (None, None)
    trains: bool = True

    def local_round(self, device: Any) -> Any:
        module, taken = device.module(device.start), []
        optimizer = torch.optim.SGD(module.parameters(), device.plan.learning_rate)
        for steps in self.parts:
            seen = []
            for batch in device.batches(steps):
                seen.append(batch.inputs)
                if self.trains:
                    optimizer.zero_grad()
                    device.loss(module(batch.inputs), batch).backward()
                    optimizer.step()
            taken.append(seen)
        alike = [all(torch.equal(a, b) for a, b in zip(taken[0], other, strict=False)) for other in taken[1:]]
        told = {f"steps {i}": len(seen) for i, seen in enumerate(taken)}
        return device.trained(module, metrics=told | {"examples": len(torch.cat(taken[-1])), "alike": sum(alike)})

    def report(self, device: Any) -> Any:
        return super().report(device)._replace(metrics={"plan": device.plan.steps})


def test_every_call_for_batches_begins_anew_in_another_order() -> None:
    local = {"epochs": 1, "batch_size": 4}
    runs = [fogline.simulate(task_of(), Passes(parts=(None, None, 2)), **QUIET | {"local": local}) for _ in range(2)]
    row, mean = runs[0].history[-1], lambda values: float(np.average(values, weights=SIZES))
    steps = [-(-n // 4) for n in SIZES]
    assert row["metric/steps 0"] == row["metric/steps 1"] == pytest.approx(mean(steps))
    assert row["metric/steps 2"] == 2
    assert row["metric/plan"] == pytest.approx(mean(steps) * 2 + 2)
    assert row["metric/alike"] == 0
    assert row["steps"] == sum(steps)  # As planned.
    np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)
    whole = fogline.simulate(task_of(), Passes(), **QUIET | {"local": local}).history[-1]["metric/examples"]
    assert whole == pytest.approx(mean(SIZES))  # A pass has every example once.


@pytest.mark.parametrize("steps", [0, 1.5])
def test_no_number_of_steps_is_refused(steps: Any) -> None:
    method = type("Other", (FedAvg,), {"local_round": lambda self, device: list(device.batches(steps))})()
    with pytest.raises(CodeError, match=r"Other.local_round raised ValueError: a plan is given steps="):
        fogline.simulate(task_of(), method, **QUIET)


@pytest.mark.parametrize("policy", ["uniform", "oort", "power_of_choice"])
def test_a_loss_that_nobody_tells_is_none(policy: str) -> None:
    tree = Tree(cloud=Tier(policy=policy, cohort=3))
    result = fogline.simulate(task_of(), Passes(trains=False), tree, **QUIET)
    assert all(np.isnan(row["train_loss"]) and row["updates"] == 3 for row in result.history)
    assert np.isfinite(fogline.simulate(task_of(), Passes(), tree, **QUIET).history[-1]["train_loss"])


def test_a_loss_is_the_mean_over_those_that_tell_one() -> None:
    class Half(Plain):
        def local_round(self, device: Any) -> Any:
            return super().local_round(device) if device.client == "c1" else device.trained(device.module(device.start))

    own, plain = (fogline.simulate(task_of(), m, **QUIET | {"rounds": 1}) for m in (Half(), Plain()))
    alone = fogline.simulate(task_of(), type("Only", (Plain,), {})(), **QUIET | {"rounds": 1})
    assert own.history[0]["train_loss"] != plain.history[0]["train_loss"] == alone.history[0]["train_loss"]
    assert own.history[0]["train_loss"] > 0.5


@pytest.mark.parametrize("hook", ["adjust_gradient", "perturb", "adjust_outputs", "adjust_loss"])
def test_a_local_round_beside_hooks_of_a_step_is_refused(hook: str) -> None:
    parent = {"adjust_gradient": "fedprox", "perturb": "fedsam", "adjust_outputs": "fedlc", "adjust_loss": "fedntd"}
    kind = type(make(parent[hook]))
    own: dict[str, Any] = {"local_round": Plain.local_round, "rate": 0.05}
    with pytest.raises(ValueError, match=rf"Own trains by itself \(local_round\), so that its {hook} would never"):
        fogline.simulate(task_of(), type("Own", (kind,), own)(), **QUIET)
    settled = type("Own", (kind,), own | {hook: getattr(FedAvg, hook), "affine": False})()
    assert fogline.simulate(task_of(), settled, **QUIET).history


@pytest.mark.parametrize(
    ("key", "value"), [("optimizer", "adam"), ("momentum", 0.9), ("weight_decay", 0.1), ("clip_norm", 1.0)]
)
def test_how_steps_are_made_is_no_setting_of_a_method_that_makes_them(key: str, value: Any) -> None:
    local = {"steps": 2, key: value}
    with pytest.raises(JobError, match=rf"local.{key} is .*, but Plain trains by itself \(local_round\)"):
        fogline.simulate(task_of(), Plain(), **QUIET | {"local": local})


@pytest.mark.parametrize(
    ("own_round", "words"),
    [
        (lambda device: device.trained(device.module(device.start[:3])), "is asked for with shape"),
        (lambda device: device.trained(nn.Linear(2, 2)), "device.trained takes a module of the task's model"),
        (lambda device: device.trained({}), "and not a dict"),
    ],
)
def test_a_local_round_with_another_model_is_refused(own_round: Any, words: str) -> None:
    method = type("Other", (FedAvg,), {"local_round": lambda self, device: own_round(device)})()
    with pytest.raises(CodeError, match=words):
        fogline.simulate(task_of(), method, **QUIET)


def test_a_batch_far_larger_than_any_device_takes_all_it_has() -> None:
    runs = [
        fogline.simulate(task_of(), FedAvg(), engine="stacked", **QUIET | {"local": {"batch_size": size, "epochs": 2}})
        for size in (10**9, None)
    ]
    np.testing.assert_allclose(runs[0].params.vector, runs[1].params.vector, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "name", ["fedntd", "scaffnew", "feddc", "fedpvr", "ifca", "decayingsteps", "scaffold", "fedproto", "fedmd"]
)
@pytest.mark.parametrize("engine", ["flat", "stacked"])
def test_new_methods_give_on_a_tree_what_the_reference_gives_on_a_star(name: str, engine: str) -> None:
    method, task = make(name, **({"option": 1} if name == "scaffold" else {})), task_of(public=PUBLIC)
    star = fogline.simulate(task, method, engine="loop", **QUIET)
    tree = fogline.simulate(task, method, FOGS, engine=engine, **QUIET)
    np.testing.assert_allclose(tree.params.vector, star.params.vector, rtol=1e-4, atol=1e-6)
    assert np.isfinite(star.params.vector).all()
    # Where devices keep their models, they judge, and the root's says nothing.
    assert tree.metrics["loss"] == pytest.approx(star.metrics["loss"], rel=1e-5)
    assert (star.devices is not None) == (not method.global_model)


def test_fedproto_shares_the_mean_features_of_each_class() -> None:
    task, method, local = task_of(), make("fedproto", lam=0.7), LocalTraining(steps=3, batch_size=4)
    first, engine = task.initial(0), task.build("flat", method, local)
    fold, parts = fold_named(False), [fold_named(False) for _ in range(2)]
    jobs = [ClientJob(i, first.vector, first.counters, 3, 0.1, i) for i in range(len(SIZES))]
    done = run_cohort(engine, method, task, jobs)
    features, labels = [], []
    for i, one in enumerate(done):
        assert one.update is not None
        fold.add(one.update)
        parts[i % 2].add(one.update)
        features.append(context(task, i).features_at(one.local["model"], task.data.at(i)))
        labels.append(task.data.at(i).y)
    facts = AggregatorContext(len(SIZES), 0)
    model, state = method.server_update(first.vector, fold.finish(), {}, facts)
    np.testing.assert_array_equal(model, first.vector)
    rows, y = np.concatenate(features), np.concatenate(labels)
    expected = np.stack([rows[y == j].mean(0) for j in range(3)])
    np.testing.assert_allclose([state[str(j)] for j in range(3)], expected, rtol=1e-4, atol=1e-6)
    tree = fold_named(False)
    for part in parts:
        tree.merge(part.partial())
    _, above = method.server_update(first.vector, tree.finish(), {}, facts)
    assert state.keys() == above.keys()
    for name, prototype in state.items():
        np.testing.assert_allclose(above[name], prototype, rtol=1e-5)

    del state["1"]  # Nobody has sent it.
    for missing, labels in ((1, [0, 2, 1, 1]), (7, [0, 2, 7, 7])):
        received = {name: torch.tensor(vector) for name, vector in method.broadcast(state).items()}
        batch = SimpleNamespace(features=torch.tensor(rows[:4]), targets=torch.tensor(labels))
        adjusted = method.adjust_loss(torch.tensor(1.0), batch, SimpleNamespace(received=received))
        apart = ((rows[:2] - expected[[0, 2]]) ** 2).mean(1).sum() / 4
        assert float(adjusted) == pytest.approx(1.0 + 0.7 * apart, rel=1e-4), missing


def test_a_device_sends_the_prototypes_of_its_own_classes_only() -> None:
    data = from_clients("two", {"a": examples_of(0, 0), "b": examples_of(2, 1)}, classes=3)
    task, method, local = Task(lambda: models.mlp(5, (6,), 3), data), make("fedproto"), LocalTraining(batch_size=4)
    first, engine = task.initial(0), task.build("flat", method, local)
    jobs = [ClientJob(i, first.vector, first.counters, 3, 0.1, i) for i in range(2)]
    for one, wanted in zip(run_cohort(engine, method, task, jobs), ({"0"}, {"1", "2"}), strict=True):
        assert one.update is not None
        assert set(one.update.vectors) == wanted


def examples_of(*labels: int) -> Examples:
    y = np.repeat(np.unique(labels), 6)
    return Examples(np.random.default_rng(len(y)).normal(size=(len(y), 5)).astype(np.float32), y)


PUBLIC = Examples(np.random.default_rng(9).normal(size=(30, 5)).astype(np.float32), np.zeros(30, np.int64))


@pytest.mark.parametrize("name", ["fedmd", "fedproto"])
@pytest.mark.parametrize("tree", [Tree(), FOGS], ids=["star", "tree"])
def test_where_devices_keep_their_models_they_judge_and_the_root_learns_nothing(name: str, tree: Tree) -> None:
    task = task_of(public=PUBLIC)
    result = fogline.simulate(task, name, tree, evaluation={"every": 2}, **QUIET | {"rounds": 4})
    assert result.job.evaluation.where == "devices"
    np.testing.assert_array_equal(result.params.vector, task.initial(0).vector)
    assert result.devices is not None
    losses = [row["loss"] for row in result.history if "loss" in row]
    assert losses[-1] != losses[0]
    sent = result.history[0]["up/cloud"] / (len(SIZES) if tree is not FOGS else 2)  # Before devices were asked.
    assert sent < (30 * 3 if name == "fedmd" else 3 * 6) * 4 + 100
    for where in ("cloud", "both"):
        words = f"evaluation.where is '{where}', but Fed.* keeps a model on each device, so that the cloud has"
        with pytest.raises(JobError, match=words):
            fogline.simulate(task, name, tree, evaluation={"where": where}, **QUIET)
    with pytest.raises(JobError, match=r"'clip\(\)' cannot stand here: nothing that Fed.* sends moves the model"):
        fogline.simulate(task, name, Tree(cloud=Tier(uplink=["clip()"])), **QUIET)


def test_who_never_trains_has_no_model_where_devices_keep_theirs() -> None:
    task = task_of(public=PUBLIC)
    task.data = task.data.with_held_out(["c1"])
    result = fogline.simulate(task, "fedmd", **QUIET)
    assert result.held_out == {}
    assert result.reasons["not judged"] == "c1: client 'c1' never trains, and so has no model of its own"


def test_fedmd_wants_public_examples() -> None:
    with pytest.raises(JobError, match=r"FedMD wants public examples, and the data set 'some' has none; give it some:"):
        fogline.simulate(task_of(), "fedmd", **QUIET)


class TellingScores(FedMD):
    """Says how far a device's scores lie from the consensus."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        update = super().report(device)
        scores = update.terms["scores"].vector
        spread = float(np.abs(scores - device.received.get("consensus", scores)).mean())
        return update._replace(metrics={"spread": spread})


def test_devices_agree_on_public_examples_by_fedmd() -> None:
    """How far their scores lie apart, after as much training, with the consensus and without."""
    apart = {}
    for epochs in (0, 20):
        method = TellingScores(epochs=epochs)
        task = task_of(public=PUBLIC)
        result = fogline.simulate(task, method, **QUIET | {"rounds": 6, "local": {"steps": 2, "batch_size": 4}})
        apart[epochs] = result.history[-1]["metric/spread"]
    assert apart[20] < 0.7 * apart[0]


def test_fedntd_by_hand() -> None:
    rng = np.random.default_rng(3)
    own, teacher, y, tau = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.integers(0, 4, 5), 1.7
    expected = 0.0
    for z, t, label in zip(own, teacher, y, strict=True):
        others = [j for j in range(4) if j != label]
        q, p = (np.exp(v[others] / tau) / np.exp(v[others] / tau).sum() for v in (z, t))
        expected += float((p * np.log(p / q)).sum()) / 5
    method = make("fedntd", beta=0.3, tau=tau)
    batch = SimpleNamespace(outputs=torch.tensor(own), targets=torch.tensor(y))
    device = SimpleNamespace(model=None, outputs_at=lambda *_: torch.tensor(teacher))
    adjusted = method.adjust_loss(torch.tensor(2.0, dtype=torch.float64), batch, device)
    assert float(adjusted) == pytest.approx(2.0 + 0.3 * expected)
