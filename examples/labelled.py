"""Inference feeds training: samples that a device has kept, and that were labelled since, join its own data.

The owner's policy.toml says that samples may be kept, and how many; where they lie is said to the task:

    [serve]
    keep = "64MB"

    fogline device run --serve --set samples=/srv/press-4/samples

Labels come by HTTP, with the id of the request: POST /v2/models/labelled/labels {"id": "17", "labels": [3]}.
"""

from pathlib import Path

import numpy as np
from sklearn.linear_model import SGDClassifier

from fogline import SklearnTask, load
from fogline.data import Examples, FederatedData, from_clients
from fogline.serving.quality.labelled import labelled


def task(clients: int = 10, samples: str = "") -> SklearnTask:
    data = load("digits", partition="dirichlet", clients=clients, alpha=10.0)
    more = labelled(Path(samples)) if samples else Examples(np.zeros(0), np.zeros(0))
    return SklearnTask(SGDClassifier(loss="log_loss"), joined(data, more) if more.count else data)


def joined(data: FederatedData, more: Examples) -> FederatedData:
    """The data with more examples for whoever is asked for: on a device, that is its own client."""

    def both(client: str) -> Examples:
        own = data[client]
        return Examples(np.concatenate([own.x, more.x]), np.concatenate([own.y, more.y]))

    return from_clients(data.name, data.clients, both, test=data.test, meaning=data.meaning)
