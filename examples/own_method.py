"""A method of one's own against FedAvg: coordinates on which devices disagree move less.

Each device sends, beside its update, the sign of every coordinate. The size of their mean, between 0
and 1, says how far the devices agree, and the server moves each coordinate in proportion to it.
Run it with ``python examples/own_method.py`` (``--rounds 5`` for a short look).
"""

import argparse

import numpy as np

import fogline
from fogline import FedAvg, Task, Tier, Tree, load
from fogline.algorithms import ClientUpdate, Weighted
from fogline.training.torch.models import mlp


class Agreement(FedAvg):
    """FedAvg, damped where devices pull in different directions."""

    floor: float = 0.3
    """Share of the mean update that is taken even where devices do not agree at all."""
    rate: float = 2.0
    """Factor on the whole step, since damping shortens it."""

    def report(self, device):
        report = super().report(device)
        signs = np.sign(device.end - device.start)
        return ClientUpdate(report.terms | {"signs": Weighted(signs, float(device.plan.samples))}, report.local)

    def server_update(self, model, folded, state, group):
        share = np.maximum(np.abs(folded.mean("signs")), self.floor)
        return model + self.rate * share * folded.mean("delta"), state


def run(rounds: int = 20, seed: int = 0) -> dict[str, fogline.Result]:
    """Both methods on the same digits, devices and seed."""
    data = load("digits", partition="dirichlet", clients=50, alpha=0.1, seed=seed)
    task = Task(lambda: mlp(64, (32,), 10), data)
    tree = Tree(cloud=Tier(), fog=Tier(count=2, cohort=10))
    settings = {"rounds": rounds, "local": {"steps": 20}, "seed": seed, "processes": 0, "progress": False}
    settings["evaluation"] = {"where": "both", "every": rounds}
    return {type(m).__name__: fogline.simulate(task, m, tree, **settings) for m in (FedAvg(), Agreement())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare FedAvg with a method of one's own.")
    parser.add_argument("--rounds", type=int, default=20)
    for name, result in run(parser.parse_args().rounds).items():
        print(f"{name:10} accuracy {result.metrics['accuracy']:.4f} worst tenth {result.devices.worst_decile:.4f}")
