"""A small head on a large body that was trained elsewhere: the body is frozen, so it travels once.

python examples/fine_tuning.py
"""

from functools import cache

import torch
from torch import nn

from fogline import Task, load, simulate

WIDTH, ROUNDS = 512, 10


def body() -> nn.Sequential:
    """What is large."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())


@cache
def pretrained() -> dict[str, torch.Tensor]:
    """Weights of a body that tells the digits below five apart; it has never seen another."""
    examples = load("digits", partition="iid", clients=1).at(0)
    x, y = torch.as_tensor(examples.x), torch.as_tensor(examples.y)
    torch.manual_seed(0)
    model = nn.Sequential(body(), nn.Linear(WIDTH, 5))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[y < 5]), y[y < 5]).backward()
        optimizer.step()
    return model[0].state_dict()


def task(freeze: bool = True) -> Task:
    """All ten digits, from a body that knows five."""

    def model() -> nn.Module:
        made = body()
        made.load_state_dict(pretrained())
        return nn.Sequential(made.requires_grad_(not freeze), nn.Linear(WIDTH, 10))

    return Task(model, load("digits", partition="dirichlet", clients=20, alpha=0.5))


if __name__ == "__main__":
    for freeze in (False, True):
        settings = {"local": {"learning_rate": 0.02}, "engine": "stacked", "processes": 0, "progress": False}
        result = simulate(task(freeze), rounds=ROUNDS, **settings)
        first, last = result.history[0], result.history[-1]
        down, up = ((last[f"{way}/cloud"] - first[f"{way}/cloud"]) / (ROUNDS - 1) / 1e6 for way in ("down", "up"))
        once = first["down/cloud"] / 1e6 - down
        print(
            f"{'body frozen' if freeze else 'all trained'}: {down:6.2f} MB down and {up:6.2f} MB up a round, "
            f"{once:5.2f} MB once; {result.metrics['accuracy']:.1%} right after {ROUNDS} rounds"
        )
