"""A metric of one's own: balanced accuracy, the mean over classes of the share that is found."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch

from fogline import Task
from fogline.data import Examples
from fogline.params import Params


class BalancedTask(Task):
    """A task that also counts, class by class, how many examples there are and how many are found.

    Where an example has several targets, the first is its own, and counts; the others say more to the loss.
    """

    def evaluate(self, params: Params, examples: Examples) -> dict[str, float]:
        """The usual sums, and two per class. Sums add up over batches, devices and fogs."""
        module, y = self.untrained().eval(), self.targets(examples.y)
        self.layout.load(module, params.vector, params.counters)
        with torch.inference_mode():
            outputs = module(self.inputs(examples.array))
            loss = float(self.loss_function(outputs, y))
        found, truth = (part.flatten(1)[:, 0] if part.ndim > 1 else part for part in (outputs.argmax(1), y))
        right = (found == truth).numpy()
        sums = {"count": float(len(right)), "loss": loss * len(right), "correct": float(right.sum())}
        for label in np.unique(truth).tolist():
            here = truth.numpy() == label
            sums[f"examples/{label}"] = float(here.sum())
            sums[f"found/{label}"] = float(right[here].sum())
        return sums

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Balanced accuracy first, then the usual ones."""
        seen = Counter({key.removeprefix("examples/"): n for key, n in sums.items() if key.startswith("examples/")})
        shares = [sums[f"found/{label}"] / n for label, n in seen.items()]
        return {"balanced_accuracy": float(np.mean(shares)), **super().metrics(dict(sums))}
