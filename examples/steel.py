"""Which of six defects a hot-rolled steel strip has (NEU-DET, 64 x 64 grey pixels).

The pictures have no owners: the split is made, with kinds of defect that differ between ten mills (Dirichlet, 0.5).
Honest metric: accuracy on a fifth of each kind that nobody trains on. The features are those that the data set was
published for, local binary patterns (Ojala et al., 2002, and their magnitudes, Guo et al., 2010): they tell textures
apart whatever the light.
"""

import numpy as np
from torch import nn

from fogline import Task, load
from fogline.data import Examples, FederatedData, from_clients

RADII = (1, 2, 3, 5, 8)
"""In pixels: from how far the eight neighbours are taken."""
AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


def features(x: np.ndarray) -> np.ndarray:
    """Pictures (n, 1, 64, 64) as (n, 127) numbers: at every radius how often each pattern occurs, of signs and of
    magnitudes, and how strong the differences are by direction; then quantiles of the brightness."""
    parts = [part for radius in RADII for part in patterns(x[:, 0], radius)]
    brightness = np.quantile(x, LEVELS, axis=(1, 2, 3)).T
    return np.concatenate([*parts, brightness], axis=1).astype(np.float32)


def patterns(x: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, 10) shares of pixels by pattern of signs, the same of magnitudes, and (n, 4) logarithms of differences."""
    side = x.shape[1] - 2 * radius
    centre = x[:, radius : radius + side, radius : radius + side]
    places = [(radius * (1 + down), radius * (1 + right)) for down, right in AROUND]
    neighbours = [x[:, row : row + side, column : column + side] for row, column in places]
    differences = np.stack([neighbour - centre for neighbour in neighbours])
    sizes = np.abs(differences)
    strength = sizes.mean((2, 3))
    larger = sizes > sizes.mean((0, 2, 3))[None, :, None, None]
    return 3 * shares(differences >= 0), 3 * shares(larger), np.log(strength[:4] + strength[4:] + 0.01).T


def shares(bits: np.ndarray) -> np.ndarray:
    """Of (8, n, side, side) bits around each pixel: (n, 10) shares of 0 to 8 that are set in one run, and of others."""
    changes = (bits != np.roll(bits, 1, axis=0)).sum(0, dtype=np.uint8)
    kinds = np.where(changes <= 2, bits.sum(0, dtype=np.uint8), 9).reshape(bits.shape[1], -1)
    places = kinds + 10 * np.arange(len(kinds))[:, None]
    return np.bincount(places.ravel(), minlength=10 * len(kinds)).reshape(-1, 10) / kinds.shape[1]


def mills(clients: int, alpha: float) -> FederatedData:
    """Features of everybody's pictures."""
    data = load("neu_det", partition="dirichlet", clients=clients, alpha=alpha)
    seen = {name: Examples(features(data[name].array), data[name].y) for name in data.clients}
    test = data.test and Examples(features(data.test.array), data.test.y)
    return from_clients(data.name, seen, meaning=data.meaning, test=test)


def task(clients: int = 10, alpha: float = 0.5) -> Task:
    """Needs the data set ``neu_det``."""
    data = mills(clients, alpha)
    inputs = data.at(0).array.shape[1]
    return Task(
        lambda: nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 6)),
        data,
        name="steel",
    )
