"""Pictures of one's own, in a folder for each class: digits, say, as digits/0/any.png … digits/9/any.png.

fogline simulate examples/own_pictures.toml --set task_parameters.folder=digits --baseline pooled alone

The split is made (Dirichlet label skew between ten devices), and a fifth of each class is the test set. Without a
folder it takes the 8x8 digits that come with scikit-learn.
"""

from pathlib import Path

import numpy as np
from torch import nn

from fogline import Task
from fogline.data import Examples
from fogline.data.loaders import load_raw
from fogline.data.loaders.shaping import random_test
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

KINDS = (".png", ".jpg", ".jpeg", ".bmp")


def read(folder: Path, size: int) -> RawData:
    """Grey pictures (n, 1, size, size), about 0 and 1 wide; a class is a folder's name."""
    from PIL import Image

    classes = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    files = [path for name in classes for path in sorted((folder / name).iterdir()) if path.suffix.lower() in KINDS]
    if len(classes) < 2 or not files:
        raise ValueError(f"{folder.resolve()} has no pictures in folders of their classes, such as 0/any.png.")
    x = np.empty((len(files), 1, size, size), np.float32)
    for place, path in enumerate(files):
        with Image.open(path) as picture:
            x[place, 0] = np.asarray(picture.convert("L").resize((size, size)))
    x = (x - x.mean()) / (x.std() + 1)
    y = np.array([classes.index(path.parent.name) for path in files])
    rows, test = random_test(y)
    meaning = Meaning(len(classes), tuple(classes))
    return RawData(folder.name, x, y, meaning, test=Examples(x[test], y[test]), rows=rows)


def cnn(size: int, classes: int) -> nn.Module:
    """Two convolutions, for 1 x size x size."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * (size // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, classes)),
    )


def task(folder: str = "", size: int = 28, clients: int = 10, alpha: float = 0.5) -> Task:
    """A picture becomes size x size pixels."""
    raw = read(Path(folder), size) if folder else load_raw("digits")
    data = raw.split("dirichlet", clients=clients, alpha=alpha)
    size, classes = raw.x.shape[-1], raw.meaning.classes or 0
    return Task(lambda: cnn(size, classes), data, name=raw.name)
