"""What engines hand to a method's hooks can only be read, and what hooks give must fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from fogline.training import LocalMethod, LocalTraining
from fogline.user_code.bugs import CodeError
from tests.training.cohorts import jobs_of, task_of

ENGINES = ("loop", "flat", "stacked")
LOCAL = LocalTraining(batch_size=4)


class Bends(LocalMethod):
    """Writes where the test says, and gives what the test says."""

    def __init__(self, write: Callable[[Any, Any, Any, Any], object]) -> None:
        self.write = write

    def adjust_gradient(self, gradient: Any, weights: Any, start: Any, local: Any, received: Any) -> Any:
        given = self.write(gradient, weights, start, local)
        return gradient if given is None else given


def train(method: LocalMethod, engine: str) -> None:
    task = task_of()
    jobs = jobs_of(task, LOCAL)
    for job in jobs:
        job.local = {"mine": np.zeros(task.spec.trainable, np.float32)}
    task.build(engine, method, LOCAL).train(jobs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "write",
    [
        lambda gradient, weights, start, local: gradient.mul_(0.5),
        lambda gradient, weights, start, local: weights.__setitem__(Ellipsis, 0.0),
        lambda gradient, weights, start, local: start[..., :2].zero_(),
        lambda gradient, weights, start, local: local["mine"].add_(1.0),
        lambda gradient, weights, start, local: local.__setitem__("mine", gradient),
    ],
    ids=["gradient", "weights", "start", "state", "mapping"],
)
def test_a_hook_that_writes_is_named(engine: str, write: Any) -> None:
    with pytest.raises(CodeError, match=r"^Client 'client-\d': Bends.adjust_gradient writes into .*work on a copy"):
        train(Bends(write), engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda gradient, *_: gradient[..., 1:], "gives shape"),
        (lambda *_: 0.0, "gives a float; it must give a Tensor of shape"),
        (lambda gradient, *_: gradient.numpy(), "gives a ndarray; it must give a Tensor of shape"),
        (lambda gradient, *_: gradient * 1j, "gives complex numbers where real ones are wanted"),
    ],
    ids=["shape", "number", "array", "complex"],
)
def test_a_gradient_that_does_not_fit_is_named(engine: str, give: Any, words: str) -> None:
    with pytest.raises(CodeError, match=rf"^Client 'client-\d': Bends.adjust_gradient {words}"):
        train(Bends(give), engine)


class Detached(LocalMethod):
    def adjust_loss(self, loss: Any, batch: Any, device: Any) -> Any:
        return loss.detach()


class Summed(LocalMethod):
    def adjust_outputs(self, outputs: Tensor, batch: Any, device: Any) -> Tensor:
        return outputs.sum(-1)


class Cut(LocalMethod):
    def adjust_outputs(self, outputs: Tensor, batch: Any, device: Any) -> Tensor:
        return outputs.detach()


class Moved(LocalMethod):
    def perturb(self, weights: Tensor, gradient: Tensor) -> Tensor:
        return weights.add_(gradient)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Detached, "Detached.adjust_loss gives a loss that does not depend on the weights any more"),
        (Summed, "Summed.adjust_outputs gives shape"),
        (Cut, "Cut.adjust_outputs gives outputs that do not depend on the weights any more"),
        (Moved, "Moved.perturb writes into a tensor"),
    ],
)
def test_the_other_hooks_are_watched_too(engine: str, method: type[LocalMethod], words: str) -> None:
    with pytest.raises(CodeError, match=words):
        train(method(), engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_numbers_cause_stays_with_the_device(engine: str) -> None:
    def overflow(*_: object) -> None:
        raise FloatingPointError("overflow")

    task = task_of()
    done = task.build(engine, Bends(overflow), LOCAL).train(jobs_of(task, LOCAL))
    assert all(
        "Bends.adjust_gradient raised FloatingPointError: overflow" in (trained.failure or "") for trained in done
    )


class MuteError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError("no text")


def raise_mute(*_: Any) -> None:
    raise MuteError


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_without_a_text_is_a_bug_like_any_other(engine: str) -> None:
    with pytest.raises(CodeError, match=r"Bends.adjust_gradient raised MuteError"):
        train(Bends(raise_mute), engine)
