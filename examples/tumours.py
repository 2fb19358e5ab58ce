"""Whether a breast tumour is benign, by 30 measures of its cells' nuclei (Wisconsin, 1993).

No natural clients: eight clinics with few cases each, and of unlike kind (Dirichlet 0.5 by diagnosis). Metric: accuracy
on 114 tumours that never train, so one of them is 0.9 points.
"""

from torch import nn

from fogline import Task, load
from fogline.training.torch.models import mlp


def model() -> nn.Module:
    """A small network on 30 measures."""
    return mlp(30, (16,), 2)


def task(clinics: int = 8, alpha: float = 0.5) -> Task:
    """Needs the data set ``fate_examples``."""
    data = load("fate_examples", table="breast", partition="dirichlet", clients=clinics, alpha=alpha, min_size=10)
    return Task(model, data, name="tumours")
