"""Image benchmarks of the literature: MNIST, Fashion-MNIST, CIFAR-10.

They have no natural owners: the split is made (Dirichlet label skew), and figures compare only between runs with the
same split. Honest metric: accuracy on the official test set (see ``fogline datasets`` for what differs from it).
Choose the set with ``--set task_parameters.data=fashion_mnist`` (or ``cifar10_jpeg``).
"""

from fogline import Task, load
from fogline.training.torch.models import niid_bench_cnn


def task(data: str = "mnist", clients: int = 100, alpha: float = 0.5) -> Task:
    """Needs the data set ``mnist``, ``fashion_mnist`` or ``cifar10_jpeg``."""
    federated = load(data, partition="dirichlet", clients=clients, alpha=alpha)
    channels, size, _ = federated.at(0).x.shape[1:]
    return Task(lambda: niid_bench_cnn(channels, size), federated, name=data)
