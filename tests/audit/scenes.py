"""Small jobs on real digits that tests attack, and the noise that some of them add."""

from __future__ import annotations

from typing import Any

import numpy as np

import fogline
from fogline import Job, Local, Tier, Tree
from fogline.audit import AuditSettings, Scene
from fogline.data import from_arrays
from fogline.data.dataset import FederatedData
from fogline.params import State
from fogline.stages import LinkContext, Named, Stage
from fogline.training.torch.models import mlp

CLIENTS, EACH = 8, 40


class Noise(Stage):
    """Normal noise on all that moves the model."""

    std: float

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        return {
            name: (v + self.std * link.rng.standard_normal(v.size)).astype(v.dtype) for name, v in update.items()
        }, state

    def receive(self, encoded: Named) -> Named:
        return encoded

    def layout(self, layout: Any) -> Any:
        return layout


NOISY = "tests.audit.scenes:Noise(std=0.05)"


def digits(clients: int = CLIENTS, each: int = EACH) -> FederatedData:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x = (np.asarray(x, np.float32)[order] / 16).reshape(-1, 1, 8, 8)
    rows = [np.arange(each * i, each * (i + 1)) for i in range(clients)]
    rest = slice(clients * each, clients * each + 200)
    y = np.asarray(y, np.int64)[order]
    return from_arrays("digits", x, y, rows, classes=10, test=(x[rest], y[rest]))


def digits_task(clients: int = CLIENTS, each: int = EACH) -> fogline.Task:
    return fogline.Task(lambda: mlp(64, (32,), 10), digits(clients, each))


def job(tree: Tree | None = None, **changes: Any) -> Job:
    given = {"rounds": 3, "engine": "loop", "local": Local(learning_rate=0.1, batch_size=10), "seed": 1}
    return Job(tree=tree or Tree(cloud=Tier()), **(given | changes))


def scene(tree: Tree | None = None, settings: AuditSettings | None = None, **changes: Any) -> Scene:
    return Scene(job(tree, **changes), digits_task(), settings or AuditSettings())
