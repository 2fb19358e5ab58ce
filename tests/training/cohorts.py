"""Tasks, methods and cohorts for the engines' tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from fogline.data import Examples, from_arrays
from fogline.params import State
from fogline.training import ClientJob, LocalMethod, LocalResult, LocalTraining, Task
from fogline.training.torch import TorchTask, models

SIZES = (13, 20, 1, 7, 10)
FEATURES, CLASSES = 8, 5


def task_of(
    model: Callable[[], nn.Module] = lambda: models.mlp(FEATURES, (16, 12), CLASSES),
    shape: tuple[int, ...] = (FEATURES,),
    sizes: Sequence[int] = SIZES,
    classes: int | None = CLASSES,
    loss: Any = "cross_entropy",
    tokens: bool = False,
    dtype: str = "float32",
    device: str = "cpu",
    answer: Literal["last", "mean"] = "last",
) -> TorchTask:
    """Random examples for clients of these sizes."""
    rng = np.random.default_rng(0)
    total = sum(sizes)
    x: npt.NDArray[Any] = rng.normal(size=(total, *shape)).astype(dtype)
    if tokens:
        x = rng.integers(0, classes, (total, *shape))
        y: npt.NDArray[Any] = np.roll(x, 1, -1)
    elif classes is None:
        y = x.reshape(total, -1)[:, :3].sum(1) + 0.1
    else:
        y = rng.integers(0, classes, total)
    parts = np.split(np.arange(total), np.cumsum(sizes)[:-1])
    return TorchTask(
        model, from_arrays("random", x, y, parts, classes=classes), loss=loss, device=device, answer=answer
    )


def spoil(task: Task, client: int, change: Callable[[Examples], None]) -> None:
    """Change a client's examples behind the checks of the data set."""
    load = task.data.at

    def at(index: int) -> Examples:
        whole = load(index)
        examples = Examples(whole.array.copy(), whole.y.copy())
        if index == client:
            change(examples)
        return examples

    task.data.at = at  # type: ignore[method-assign]
    task.data.table = None  # Its clients are no longer rows of one.


def state_of(task: TorchTask, client: int) -> State:
    """What a device keeps, different for each."""
    rng = np.random.default_rng(100 + client)
    return {
        "h": rng.normal(size=task.spec.trainable).astype(task.spec.dtype) * 0.05,
        "prior": rng.random(CLASSES).astype(task.spec.dtype) + 0.1,
    }


def jobs_of(task: TorchTask, local: LocalTraining, round_index: int = 0, start: Any = None) -> list[ClientJob]:
    """One job per client."""
    first = task.initial(3)
    vector = first.vector if start is None else start
    received = {"c": np.full(task.spec.trainable, 0.01, task.spec.dtype)}
    return [
        ClientJob(
            client,
            vector,
            first.counters,
            local.step_count(int(size)),
            local.learning_rate,
            17 * client + 1000 * round_index,
            state_of(task, client),
            received,
        )
        for client, size in enumerate(task.data.sizes())
    ]


def three_rounds(task: TorchTask, engine: str, method: LocalMethod, local: LocalTraining) -> list[LocalResult]:
    """Three rounds of plain averaging; the devices' last results."""
    built = task.build(engine, method, local)
    vector, done = task.initial(3).vector, []
    for round_index in range(3):
        done = built.train(jobs_of(task, local, round_index, vector))
        assert [trained.failure for trained in done] == [None] * len(done)
        vector = np.mean([trained.end for trained in done], axis=0, dtype=np.float64).astype(task.spec.dtype)
    return done


def distance(task: TorchTask, one: list[LocalResult], other: list[LocalResult]) -> float:
    """How far results lie apart, relative to how far training moved."""
    start = task.initial(3).vector
    a, b = np.stack([t.end for t in one]), np.stack([t.end for t in other])
    return float(np.linalg.norm(a - b) / np.linalg.norm(a - start))


class Proximal(LocalMethod):
    """FedProx: affine, one number."""

    affine: ClassVar[bool] = True

    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient + 0.1 * (weights - start)


class Controlled(LocalMethod):
    """SCAFFOLD: affine, without weights."""

    affine: ClassVar[bool] = True

    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient + received["c"] - local["h"]


class Weighted(LocalMethod):
    """A pull of its own strength for each parameter, as with a Fisher information."""

    affine: ClassVar[bool] = True

    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient + local["h"] ** 2 * (weights - start) - local["h"]


class Normed(LocalMethod):
    """An adjustment that is not affine."""

    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient / (1.0 + abs(weights - start)) + 0.01 * gradient * gradient


class Sharp(LocalMethod):
    """FedSAM."""

    def perturb(self, weights, gradient):
        norm = (gradient * gradient).sum(-1) ** 0.5 + 1e-12
        return weights + 0.05 * gradient / norm[..., None]


class Calibrated(LocalMethod):
    """FedLC: outputs shifted by the device's label frequencies."""

    def adjust_outputs(self, outputs, batch, device):
        return outputs - 0.5 * device.local["prior"] ** -0.25


@dataclass
class Contrastive(LocalMethod):
    """MOON: features pulled to those of the model received and away from another's."""

    def adjust_loss(self, loss, batch, device):
        features, start = batch.features, device.start
        near, far = device.features_at(start, batch), device.features_at(start + device.local["h"], batch)
        return loss + 0.1 * ((features - near) ** 2).mean() - 0.01 * ((features - far) ** 2).mean()


class Distilled(LocalMethod):
    """Outputs pulled to those under other weights, where the labels are known; a part is left to chance."""

    def adjust_loss(self, loss, batch, device):
        teacher = device.outputs_at(device.model + device.received["c"], batch)
        apart = ((batch.outputs - teacher) ** 2).flatten(1).mean(1)
        kept = float(device.rng.random() < 0.5) + float(device.common_rng.random())
        return loss + 0.1 * kept * (apart * (batch.targets.reshape(len(apart), -1)[:, 0] % 2)).mean()


class Everything(Calibrated, Sharp, Normed, Contrastive):
    """All hooks at once."""


METHODS: tuple[type[LocalMethod], ...] = (
    LocalMethod,
    Proximal,
    Controlled,
    Weighted,
    Normed,
    Sharp,
    Calibrated,
    Contrastive,
    Distilled,
    Everything,
)
