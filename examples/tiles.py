"""Surface defects of magnetic tiles.

Natural split: one device per camera exposure (6), as stations with different light would have. Honest metric:
balanced accuracy (the mean over classes of the share found) on tiles that never train, because most tiles have no
defect and plain accuracy rewards saying so every time. The task below adds it.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from fogline import Task, load
from fogline.data import Examples
from fogline.params import Params

WEIGHTS = (2.0, 2.0, 2.0, 2.0, 1.0, 2.0)
"""A defect that is not seen costs twice one that is not there (class 4, "Free")."""


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy by class."""
    return nn.functional.cross_entropy(outputs, targets, weight=torch.tensor(WEIGHTS))


class BalancedTask(Task):
    """A task that also counts, class by class, how many examples there are and how many are found."""

    def evaluate(self, params: Params, examples: Examples) -> dict[str, float]:
        """The usual sums, and two per class. Sums add up over batches, devices and fogs."""
        sums = super().evaluate(params, examples)
        module = self.untrained().eval()
        self.layout.load(module, params.vector, params.counters)
        with torch.inference_mode():
            found = module(self.inputs(examples.x)).argmax(1).numpy()
        for label in np.unique(examples.y).tolist():
            here = examples.y == label
            sums[f"examples/{label}"] = float(here.sum())
            sums[f"found/{label}"] = float((found[here] == label).sum())
        return sums

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Balanced accuracy first, then the usual ones."""
        seen = Counter({key.removeprefix("examples/"): n for key, n in sums.items() if key.startswith("examples/")})
        shares = [sums[f"found/{label}"] / n for label, n in seen.items()]
        return {"balanced_accuracy": float(np.mean(shares)), **super().metrics(dict(sums))}


def model() -> nn.Module:
    """Three convolutions on 96 x 96 grey pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 6 * 6, 64),
        nn.ReLU(),
        nn.Linear(64, 6),
    )


def task() -> Task:
    """Needs the data set ``magnetic_tile``."""
    return BalancedTask(model, load("magnetic_tile"), loss, name="tiles", headline="balanced_accuracy")
