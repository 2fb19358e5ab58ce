"""A metric of one's own: balanced accuracy, the mean over classes of the share that is found."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch

from fogline import Task
from fogline.data import Examples
from fogline.params import Params


class BalancedTask(Task):
    """A task that also counts, class by class, how many examples there are and how many are found."""

    def evaluate(self, params: Params, examples: Examples) -> dict[str, float]:
        """The usual sums, and two per class. Sums add up over batches, devices and fogs."""
        sums = super().evaluate(params, examples)
        module = self.untrained().eval()
        self.layout.load(module, params.vector, params.counters)
        with torch.inference_mode():
            found = module(self.inputs(examples.array)).argmax(1).numpy()
        for label in np.unique(examples.y).tolist():
            here = examples.y == label
            sums[f"examples/{label}"] = float(here.sum())
            sums[f"found/{label}"] = float((found[here] == label).sum())
        return sums

    @property
    def sum_names(self) -> tuple[str, ...]:
        """What the sums are called, for where devices judge and only sums of all may be seen."""
        labels = range(self.data.classes or 0)
        return (*super().sum_names, *(f"{what}/{label}" for what in ("examples", "found") for label in labels))

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Balanced accuracy first, then the usual ones."""
        seen = Counter({key.removeprefix("examples/"): n for key, n in sums.items() if key.startswith("examples/")})
        shares = [sums[f"found/{label}"] / n for label, n in seen.items()]
        return {"balanced_accuracy": float(np.mean(shares)), **super().metrics(dict(sums))}
