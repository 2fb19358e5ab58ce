"""The demo: handwritten digits on a hundred unequal phones below five fogs.

Digits have no natural owners, so each phone gets a skewed mix of classes (Dirichlet, 0.5). The honest metric is
accuracy on the common test set, beside the spread over phones, which an average hides.
"""

from fogline import Task, load
from fogline.data import MissingDatasetError
from fogline.training.torch.models import mlp


def task(clients: int = 100, alpha: float = 0.5) -> Task:
    """MNIST where its files are (see ``fogline datasets``), else the 8x8 digits that come with scikit-learn."""
    try:
        data = load("mnist", partition="dirichlet", clients=clients, alpha=alpha)
    except MissingDatasetError:
        data = load("digits", partition="dirichlet", clients=clients, alpha=alpha)
    pixels = data.at(0).x[0].size
    return Task(lambda: mlp(pixels, (64,), 10), data, name=f"digits ({data.name})")
