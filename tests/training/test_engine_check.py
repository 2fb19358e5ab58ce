"""No engine is used on trust: what differs from the reference is refused, and what does not is taken."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.engines.agreement import difference, refusal_of
from benchmarks.engines.grammar import Running, case
from fogline.training import ClientJob, LocalMethod, LocalResult, LocalTraining, autotune
from fogline.training.choosing.engine_check import EngineCheck
from fogline.training.hook_calls import watched
from fogline.training.shuffling import batches, cuts
from fogline.training.torch import ENGINES, Flat, TorchTask, models
from fogline.user_code.bugs import CodeError
from tests.training.cohorts import METHODS, Contrastive, Proximal, distance, jobs_of, task_of, three_rounds

FAST = ("flat", "stacked")
LOCAL = LocalTraining(learning_rate=0.1, batch_size=4)


@pytest.mark.slow
def test_modules_at_random() -> None:
    """Engines that would be taken give what the reference gives, and ordinary modules are taken."""
    refused: Counter[str] = Counter()
    for seed in range(10_000, 10_100):
        one = case(seed)
        for engine in FAST:
            why = refusal_of(one, engine)
            refused[engine] += why is not None
            assert why is None or not one.ordinary, f"{engine} refuses {one.text}: {why}"
            assert why is not None or difference(one, engine) is None, f"{engine} differs: {one.text}"
    assert refused["flat"] < 30
    assert refused["stacked"] < 70


def refusals(task: TorchTask, method: LocalMethod | None = None, local: LocalTraining = LOCAL) -> list[str | None]:
    """Of the fast engines, as a choice by hand would meet them."""
    found: list[str | None] = []
    for engine in FAST:
        try:
            autotune(task, method or LocalMethod(), local, jobs_of(task, local), engine=engine, chunk=3)
            found.append(None)
        except ValueError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_ordinary_work_is_taken(method: type[LocalMethod]) -> None:
    assert refusals(task_of(), method()) == [None, None]


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 12), nn.Dropout(0.4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 5))


@pytest.mark.parametrize("double", [False, True])
def test_dropout_is_drawn_as_the_reference_draws_it(double: bool) -> None:
    model = (lambda: dropping().double()) if double else dropping
    task = task_of(model, dtype="float64" if double else "float32")
    reference = three_rounds(task, "loop", LocalMethod(), LOCAL)
    for engine in FAST:
        assert distance(task, reference, three_rounds(task, engine, LocalMethod(), LOCAL)) < 1e-5
    assert refusals(task) == [None, None]


class Probe(nn.Module):
    """A head on a backbone that a forward pass keeps from training."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.backbone, self.head = how, nn.Linear(8, 6), nn.Linear(6, 5)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.backbone(x))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "decorated":
            return self.head(self.features(x))
        with torch.no_grad() if self.how == "no_grad" else torch.set_grad_enabled(False):
            hidden = torch.relu(self.backbone(x))
        return self.head(hidden)


@pytest.mark.parametrize("engine", FAST)
@pytest.mark.parametrize("how", ["no_grad", "decorated", "set_grad_enabled"])
def test_a_stretch_without_gradients_does_not_train(engine: str, how: str) -> None:
    task = task_of(lambda: Probe(how))
    done = three_rounds(task, engine, LocalMethod(), LOCAL)
    part = task.spec.slices["backbone.weight"]
    np.testing.assert_array_equal(done[0].end[part], task.initial(3).vector[part])
    assert distance(task, three_rounds(task, "loop", LocalMethod(), LOCAL), done) < 1e-4


@pytest.mark.parametrize("sizes", [(12, 12, 12), (13, 7, 10)])
@pytest.mark.parametrize("how", ["replaced", "data", "in place"])
def test_buffers_however_they_are_written(how: str, sizes: tuple[int, ...]) -> None:
    task = task_of(lambda: nn.Sequential(Running(how, width=8), nn.Linear(8, 5)), sizes=sizes)
    reference = three_rounds(task, "loop", LocalMethod(), LOCAL)
    assert (reference[0].counters > 0).all()
    for engine in [name for name, why in zip(FAST, refusals(task), strict=True) if why is None]:
        done = three_rounds(task, engine, LocalMethod(), LOCAL)
        assert distance(task, reference, done) < 1e-4
        assert [t.counters.tolist() for t in done] == [t.counters.tolist() for t in reference]
    assert refusals(task)[0] is None
    assert (refusals(task)[1] is None) == (how != "data")


class Mixing(nn.Module):
    """Examples of a batch see each other."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.linear = how, nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "attention":
            x = torch.softmax(x @ x.T / 8, -1) @ x
        else:
            x = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-3).sqrt()
        return self.linear(x)


@pytest.mark.parametrize("how", ["attention", "statistics"])
def test_batches_are_not_filled_up_where_examples_see_each_other(how: str) -> None:
    task = task_of(lambda: Mixing(how), sizes=(13, 7, 10, 13))
    reference = three_rounds(task, "loop", LocalMethod(), LOCAL)
    for engine in FAST:
        assert distance(task, reference, three_rounds(task, engine, LocalMethod(), LOCAL)) < 1e-4


class Deciding(nn.Module):
    """Python decides which way a batch goes."""

    def __init__(self, decide: Callable[[], bool]) -> None:
        super().__init__()
        self.decide, self.first, self.head = decide, nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(x)) if self.decide() else x)


def test_random_decisions_are_those_of_the_reference() -> None:
    task = task_of(lambda: Deciding(lambda: bool(torch.rand(1) < 0.5)))
    reference = three_rounds(task, "loop", LocalMethod(), LOCAL)
    assert distance(task, reference, three_rounds(task, "flat", LocalMethod(), LOCAL)) < 1e-4
    assert task.build("flat", LocalMethod(), LOCAL).graph is None  # type: ignore[attr-defined]
    reason = refusals(task)[1]
    assert reason is not None
    assert "vmap" in reason or "draws random numbers" in reason


def test_decisions_that_no_engine_can_know_of_are_found_by_comparing() -> None:
    unknown = random.Random(0)
    flat, stacked = refusals(task_of(lambda: Deciding(lambda: unknown.random() < 0.4)))
    for reason in (flat, stacked):
        assert reason is not None
        assert "it gives other numbers than 'loop' for this model, loss and method: on client" in reason


def hooked(kind: str) -> nn.Module:
    module = models.mlp(8, (6,), 5)
    if kind == "root":
        module.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    elif kind == "layer":
        module[1].register_forward_pre_hook(lambda _module, inputs: (0.5 * inputs[0],))
    elif kind == "gradient":
        module[1].weight.register_hook(lambda gradient: 0.1 * gradient)  # type: ignore[operator]
    elif kind == "replaced":
        plain = module[1].forward
        module[1].forward = lambda x: 0.5 * plain(x)  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("kind", ["root", "layer", "gradient", "replaced"])
def test_hooks(kind: str) -> None:
    task = task_of(lambda: hooked(kind))
    reference = three_rounds(task, "loop", LocalMethod(), LOCAL)
    plain = three_rounds(task_of(lambda: models.mlp(8, (6,), 5)), "loop", LocalMethod(), LOCAL)
    assert distance(task, reference, plain) > 0.1
    for engine in [name for name, why in zip(FAST, refusals(task), strict=True) if why is None]:
        assert distance(task, reference, three_rounds(task, engine, LocalMethod(), LOCAL)) < 1e-4
    assert refusals(task)[0] is None


def test_a_hook_on_a_summed_gradient_is_left_to_the_reference() -> None:
    def model() -> nn.Module:
        module = models.mlp(8, (6,), 5)
        module[1].weight.register_post_accumulate_grad_hook(lambda weight: weight.grad.mul_(0.1))  # type: ignore[operator]
        return module

    assert all(why is not None and "hook on its gradient" in why for why in refusals(task_of(model)))


class Halved(LocalMethod):
    """Says what it is not."""

    affine: ClassVar[bool] = True

    def adjust_gradient(self, gradient: Any, weights: Any, start: Any, local: Any, received: Any) -> Any:
        return 0.5 * gradient


class Clipped(Halved):
    """Affine among small numbers only."""

    def adjust_gradient(self, gradient: Any, weights: Any, start: Any, local: Any, received: Any) -> Any:
        return gradient.clip(-10, 10)


class Grown(Halved):
    """Affine as long as the state is zero."""

    def adjust_gradient(self, gradient: Any, weights: Any, start: Any, local: Any, received: Any) -> Any:
        return gradient * (1.0 + 10 * local["h"])


@pytest.mark.parametrize("method", [Halved, Clipped, Grown])
@pytest.mark.parametrize("engine", [*ENGINES, None])
def test_a_method_that_is_not_affine_must_not_say_so(method: type[LocalMethod], engine: str | None) -> None:
    task = task_of()
    jobs = [replace(job, local={"h": np.zeros_like(job.local["h"])}) for job in jobs_of(task, LOCAL)]
    with pytest.raises(
        ValueError, match=f"Method '{method.__name__}' says affine = True, but its adjust_gradient is not"
    ):
        autotune(task, method(), LOCAL, jobs, engine=engine)


class Wrong(Flat):
    """Trains as told, but for one thing."""

    what: ClassVar[str] = ""

    def train(self, jobs: Any) -> list[LocalResult]:
        return [self._spoilt(trained, job) for trained, job in zip(super().train(jobs), jobs, strict=True)]

    def _spoilt(self, trained: LocalResult, job: ClientJob) -> LocalResult:
        head = self.task.spec.trainable
        if self.what == "a weight" and job.client == 1:
            end = trained.end.copy()
            end[0] = job.start[0]
            return replace(trained, end=end)
        if self.what == "a buffer":
            return replace(trained, end=np.concatenate([trained.end[:head], 1.01 * trained.end[head:]]))
        if self.what == "a counter":
            return replace(trained, counters=trained.counters + 1)
        if self.what == "the loss":
            return replace(trained, loss=trained.loss * 1.01)
        if self.what == "a failure":
            return replace(trained, failure="it is Monday")
        return replace(trained, steps=trained.steps + 1) if self.what == "the steps" else trained


@pytest.mark.parametrize("what", ["a weight", "a buffer", "a counter", "the loss", "a failure", "the steps", "nothing"])
def test_whatever_is_wrong_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 5)), sizes=(13, 7, 10, 18))
    monkeypatch.setattr(Wrong, "what", what)
    monkeypatch.setattr(TorchTask, "engines", lambda _: {**ENGINES, "wrong": Wrong})
    monkeypatch.setattr(TorchTask, "digest", lambda *_: None)
    local = LOCAL.model_copy(update={"smallest_batch": 2})
    reason = EngineCheck(task, Proximal(), local, jobs_of(task, local)).refuses("wrong")
    assert (reason is None) == (what == "nothing")


def test_what_differs_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of()
    monkeypatch.setattr(Wrong, "what", "a weight")
    monkeypatch.setattr(TorchTask, "engines", lambda _: {"loop": ENGINES["loop"], "wrong": Wrong})
    monkeypatch.setattr(TorchTask, "digest", lambda *_: None)
    choice = autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL))
    assert choice.engine == "loop"
    assert choice.compared == ""
    assert "moves by" in choice.refused["wrong"]
    with pytest.raises(ValueError, match="Engine 'wrong' cannot run this job: it gives other numbers than 'loop'"):
        autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL), engine="wrong")


def test_a_comparison_is_made_once_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    compare = EngineCheck._compare
    monkeypatch.setattr(EngineCheck, "_compare", lambda self, engine: made.append(engine) or compare(self, engine))
    monkeypatch.setattr("fogline.training.choosing.engine_check._VERDICTS", {})
    factor = 1.0

    class Scaled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return factor * super().forward(x)

    def chosen(method: LocalMethod | None = None, local: LocalTraining = LOCAL, compared: str = "") -> str:
        task = task_of(lambda: Scaled(8, 5))
        jobs = jobs_of(task, local)
        return autotune(task, method or LocalMethod(), local, jobs, engine="flat", chunk=1, compared=compared).compared

    first = chosen()
    assert first
    assert (chosen(), made) == (first, ["flat"])
    # Another process, which finds it in the job.
    monkeypatch.setattr("fogline.training.choosing.engine_check._VERDICTS", {})
    assert (chosen(compared=first), made) == (first, ["flat"])
    factor = 2.0
    assert chosen(compared=first) != first
    assert chosen(Proximal(), compared=first) != first
    assert chosen(local=LOCAL.model_copy(update={"momentum": 0.5}), compared=first) != first
    assert len(made) == 4
    Scaled.extra = staticmethod(lambda x: x)  # type: ignore[attr-defined]


def test_what_cannot_be_told_is_compared_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    compare = EngineCheck._compare
    monkeypatch.setattr(EngineCheck, "_compare", lambda self, engine: made.append(engine) or compare(self, engine))
    numbers = iter(range(10**6))
    task = task_of(lambda: Deciding(lambda: next(numbers) >= 0))
    for _ in range(2):
        assert autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL), engine="flat", chunk=1).compared == ""
    assert made == ["flat", "flat"]


def test_unsteady_training_is_no_difference() -> None:
    """Adam divides noise by noise where a bias has no gradient, as before batch normalisation."""
    model = lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))  # noqa: E731
    local = LocalTraining(learning_rate=0.01, batch_size=4, optimizer="adam", smallest_batch=2)
    assert refusals(task_of(model, sizes=(13, 7, 10)), local=local) == [None, None]


@pytest.mark.parametrize(
    ("examples", "size", "smallest", "ends"),
    [
        (41, 10, 2, [10, 20, 30, 41]),
        (41, 10, 1, [10, 20, 30, 40, 41]),
        (42, 10, 2, [10, 20, 30, 40, 42]),
        (1, 10, 2, [1]),
        (11, 10, 2, [11]),
        (7, None, 2, [7]),
        (13, 5, 4, [5, 13]),
    ],
)
def test_a_last_batch_that_is_too_small_joins_the_one_before(
    examples: int, size: int | None, smallest: int, ends: list[int]
) -> None:
    assert cuts(examples, size, smallest) == ends
    epoch = list(batches(3, examples, size, len(ends), smallest=smallest))
    assert np.cumsum([len(batch) for batch in epoch]).tolist() == ends
    assert sorted(np.concatenate(epoch).tolist()) == list(range(examples))
    local = LocalTraining(batch_size=size, smallest_batch=smallest, epochs=2)
    assert local.step_count(examples) == 2 * len(ends)


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))


def test_batch_normalisation_with_a_last_batch_of_one() -> None:
    task = task_of(normed, sizes=(13, 9, 13, 1))
    local = LOCAL.model_copy(update={"smallest_batch": task.smallest_batch, "epochs": 2})
    assert local.smallest_batch == 2
    results = {name: task.build(name, LocalMethod(), local).train(jobs_of(task, local)) for name in ENGINES}
    for done in results.values():
        assert [t.steps for t in done[:3]] == [6, 4, 6]
        assert done[0].counters.tolist() == [6]
        assert done[3].failure == "Client 'client-3': it has 1 example, and the model wants 2 at least in a batch."
        assert distance(task, results["loop"][:3], done[:3]) < 1e-4
    with pytest.raises(ValueError, match="batch_size is 1, and the model wants 2 examples at least"):
        task.build("loop", LocalMethod(), local.model_copy(update={"batch_size": 1}))
    assert task_of().smallest_batch == 1


@pytest.mark.parametrize("engine", FAST)
def test_frozen_weights_are_those_of_the_model_under_other_weights_too(engine: str) -> None:
    """What ``adjust_loss`` is given of other weights is seen through the frozen part that was sent."""

    def model() -> nn.Module:
        module = models.mlp(8, (8, 6), 5)
        module[1].requires_grad_(False)
        return module

    task = task_of(model)
    assert not np.array_equal(task.initial(3).vector, task.initial(task.seed).vector)
    done = [three_rounds(task, name, Contrastive(), LOCAL) for name in ("loop", engine)]
    assert distance(task, *done) < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_parameters_without_elements(engine: str) -> None:
    def model() -> nn.Module:
        module = models.mlp(8, (6,), 5)
        module.register_parameter("none", nn.Parameter(torch.zeros(0, 3)))
        module.register_parameter("scale", nn.Parameter(torch.ones(())))
        return module

    task = task_of(model)
    assert (
        distance(task, three_rounds(task, "loop", Proximal(), LOCAL), three_rounds(task, engine, Proximal(), LOCAL))
        < 1e-4
    )


class Centred(LocalMethod):
    """Changes outputs by those of the whole batch."""

    def adjust_outputs(self, outputs, batch, device):
        return outputs - 0.5 * outputs.mean(0)


def test_hooks_do_not_see_what_fills_a_batch_up() -> None:
    """Also where the devices that engines were compared on have whole batches only."""
    task = task_of(sizes=(8, 8, 8, 8, 9, 3))
    first = jobs_of(task, LOCAL)[:4]
    autotune(task, Centred(), LOCAL, first, engine="stacked", chunk=3)
    reference = three_rounds(task, "loop", Centred(), LOCAL)
    assert distance(task, reference, three_rounds(task, "stacked", Centred(), LOCAL)) < 1e-4


class Clipped(LocalMethod):
    """Affine among gradients of a usual size."""

    affine: ClassVar[bool] = True

    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient.clip(-1e5, 1e5) + 0.1 * (weights - start)


def test_an_adjustment_that_is_affine_among_small_gradients_only() -> None:
    why = refusals(task_of(), Clipped())
    assert all("affine = True" in str(one) for one in why)


class Marked(LocalMethod):
    """Affine on devices without a mark."""

    affine: ClassVar[bool] = True

    def adjust_gradient(self, gradient, weights, start, local, received):
        mark = local["prior"][..., :1]
        return gradient * (1.0 - mark) + mark * gradient * abs(gradient)


@pytest.mark.parametrize("engine", FAST)
def test_a_claim_is_held_against_every_device(engine: str) -> None:
    task = task_of()
    jobs = jobs_of(task, LOCAL)
    marks = [np.full(5, float(job.client == 3), np.float32) for job in jobs]
    marked = [replace(job, local={"prior": mark}) for job, mark in zip(jobs, marks, strict=True)]
    built = ENGINES[engine](task, watched(Marked()), LOCAL)
    assert [done.failure for done in built.train(marked[:3])] == [None] * 3
    with pytest.raises(CodeError, match=r"Marked.adjust_gradient says affine = True"):
        built.train(marked)
