"""A model and data of one's own: twelve pumps, each with its own bias; pressure from speed and heat."""

import argparse

import numpy as np
from torch import nn

import fogline
from fogline.data import Examples, from_clients


def pump(number: int, readings: int = 80) -> Examples:
    """What one pump measured; here made up, elsewhere read from its files."""
    rng = np.random.default_rng(number)
    x = rng.uniform(-1, 1, (readings, 2)).astype(np.float32)
    y = np.sin(3 * x[:, 0]) + x[:, 1] ** 2 + 0.02 * number + rng.normal(0, 0.05, readings)
    return Examples(x, y.astype(np.float32))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def run(rounds: int = 30) -> fogline.Result:
    """Ten pumps train below two fogs; two never do, and judge the model."""
    pumps = {f"pump-{i:02d}": pump(i) for i in range(12)}
    data = from_clients("pumps", pumps, held_out=["pump-03", "pump-08"])
    tree = fogline.Tree(cloud=fogline.Tier(), fog=fogline.Tier(count=2))
    local = {"learning_rate": 0.1, "epochs": 5}
    task, judged = fogline.Task(model, data, loss="mse"), {"where": "devices", "every": rounds}
    return fogline.simulate(task, tree=tree, rounds=rounds, local=local, evaluation=judged, processes=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    print(run(parser.parse_args().rounds).summary())
