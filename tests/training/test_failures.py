"""What fails on one device stays on that device, and says which."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fogline.training import LocalMethod, LocalTraining
from fogline.training.torch import TorchTask
from fogline.user_code.bugs import CodeError, naming_lost_gpus
from tests.training.cohorts import CLASSES, FEATURES, jobs_of, spoil, task_of

ENGINES = ("loop", "flat", "stacked")
LOCAL = LocalTraining(batch_size=4)


def check(task: TorchTask, engine: str, bad: int, said: str) -> None:
    """Only client ``bad`` fails; the others get what they get without it."""
    jobs = jobs_of(task, LOCAL)
    built = task.build(engine, LocalMethod(), LOCAL)
    done = built.train(jobs)
    assert [t.client for t in done if t.failure] == [bad]
    failure = done[bad].failure
    assert failure
    assert f"'client-{bad}'" in failure
    assert said in failure
    assert failure.endswith(".")
    assert "\n" not in failure
    assert np.isnan(done[bad].loss)
    others = built.train([job for job in jobs if job.client != bad])
    expected = {t.client: t.end.tobytes() for t in others}
    assert {t.client: t.end.tobytes() for t in done if not t.failure} == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_that_are_not_numbers(engine: str) -> None:
    task = task_of()
    spoil(task, 3, lambda examples: examples.array.__setitem__((2, 1), np.nan))
    assert np.isnan(task.data.at(3).array).any()
    check(task, engine, 3, "the loss is nan in step")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("label", [CLASSES, -1, 1000])
def test_labels_out_of_range(engine: str, label: int) -> None:
    task = task_of()
    spoil(task, 1, lambda examples: examples.y.__setitem__(0, label))
    check(task, engine, 1, f"the model has outputs for 0 to {CLASSES - 1}")


class Fussy(nn.Module):
    """Raises on what it does not like."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 1:
            raise RuntimeError("I need company\nand more")
        return self.head(x)


@pytest.mark.parametrize("engine", ["loop", "flat"])
def test_a_model_that_raises(engine: str) -> None:
    check(task_of(Fussy, sizes=(8, 12, 1, 4)), engine, 2, "training raised RuntimeError: I need company.")


@pytest.mark.parametrize("engine", ENGINES)
def test_one_example_under_batch_norm(engine: str) -> None:
    model = lambda: nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.Linear(6, CLASSES))  # noqa: E731
    check(task_of(model, sizes=(8, 12, 8, 1, 4)), engine, 3, "training raised")


@pytest.mark.parametrize("engine", ENGINES)
def test_data_that_cannot_be_loaded(engine: str) -> None:
    def lose(_: object) -> None:
        raise OSError("disk gone")

    task = task_of()
    spoil(task, 4, lose)
    check(task, engine, 4, "OSError: disk gone")


@pytest.mark.parametrize("engine", ENGINES)
def test_divergence(engine: str) -> None:
    task = task_of()
    spoil(task, 0, lambda examples: examples.array.__imul__(1e25))
    check(task, engine, 0, "in step")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_random_state_of_the_program_is_left_alone(engine: str) -> None:
    model = lambda: nn.Sequential(nn.Linear(FEATURES, 6), nn.Dropout(0.5), nn.Linear(6, CLASSES))  # noqa: E731
    task = task_of(model)
    built = task.build(engine, LocalMethod(), LOCAL)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    built.train(jobs_of(task, LOCAL))
    assert torch.equal(torch.rand(3), expected)


class Lost(nn.Module):
    """A GPU that has lost its way says so like this."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 4:
            raise RuntimeError("CUDA error: device-side assert triggered\nSearch for more")
        return self.head(x)


def test_a_lost_gpu_is_no_failing_device() -> None:
    task = task_of(Lost)
    with pytest.raises(CodeError, match="device-side assert"):
        task.build("loop", LocalMethod(), LocalTraining(batch_size=4)).train(jobs_of(task, LocalTraining(batch_size=4)))


def test_a_lost_gpu_is_named_wherever_it_is_heard_of() -> None:
    with pytest.raises(CodeError, match="what ran on a GPU raised RuntimeError: CUDA error"), naming_lost_gpus():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match=r"^plain$"), naming_lost_gpus():
        raise RuntimeError("plain")
