"""A digit model for ten edge devices, and one for each of them.

Each device has a skewed mix of digits (Dirichlet, 0.1). They train a small CNN together; to be judged, each fine-tunes
it on its own examples and reports how it does on those that it holds out, with the common model and with its own.
"""

from torch import nn

from fogline import Task, load
from fogline.data import MissingDatasetError


def cnn(size: int) -> nn.Module:
    """For pictures of 1 x size x size pixels, of ten digits."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * (size // 4) ** 2, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def task(clients: int = 10, alpha: float = 0.1) -> Task:
    """MNIST where its files are (see ``fogline datasets``), else the 8x8 digits that come with scikit-learn."""
    try:
        data = load("mnist", partition="dirichlet", clients=clients, alpha=alpha)
    except MissingDatasetError:
        data = load("digits", partition="dirichlet", clients=clients, alpha=alpha)
    size = data.at(0).array.shape[-1]
    return Task(lambda: cnn(size), data, name=f"digits ({data.name})")
