"""Bytes that model releases take on the way, and what accuracy arrives."""

from typing import Any

import fogline
from fogline.data import Examples
from fogline.params import Params
from fogline.training.metrics import Sums
from fogline.training.torch.models import mlp


class KeepingTask(fogline.Task):
    """Keeps every model that is judged."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.models: list[Params] = []

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        if not self.models or (self.models[-1].vector != params.vector).any():
            self.models.append(params.copy())
        return super().evaluate(params, examples)


def trained(rounds: int):
    data = fogline.load("mnist", clients=100, partition="dirichlet", alpha=0.3, flat=True, seed=0)
    task = KeepingTask(lambda: mlp(hidden=(64,)), data, name="mlp")
    result = fogline.simulate(task, "fedavg", tree=fogline.Tree(cloud=fogline.Tier(cohort=10)), rounds=rounds,
        local={"learning_rate": 0.05, "batch_size": 32, "epochs": 1}, evaluation={"every": 1, "devices": False}, processes=0)
    return task, result

if __name__ == "__main__":
    import time, pickle
    t=time.time()
    task, result = trained(20)
    print(len(task.models), [row["accuracy"] for row in result.history], time.time()-t)
    import numpy as np
    np.save("/tmp/ha_models.npy", np.stack([m.vector for m in task.models]))
