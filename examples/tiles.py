"""Surface defects of magnetic tiles, and where they are.

Natural split: one device per camera exposure (6), as stations with different light would have. Honest metric:
balanced accuracy (the mean over classes of the share found) on tiles that never train, because most tiles have no
defect and plain accuracy rewards saying so every time.

Few tiles have a rare kind of defect, so that pictures alone teach a network these tiles and not the kind: it also
learns which of 12 x 12 cells show what, from the masks of the data set; every device makes flipped and moved copies of
its own pictures, more of the rarer kinds; and the model that judges looks at a picture in four ways.
"""

import numpy as np
import torch
from balanced import BalancedTask
from torch import Tensor, nn

from fogline import load
from fogline.data import Examples, FederatedData, from_clients

CELLS = 12
COPIES = (6, 6, 9, 12, 1, 6)
"""That a device makes of a picture, by kind; class 4 is "Free"."""
WEIGHTS = (2.0, 2.0, 2.0, 2.0, 0.5, 1.0)
"""Of kinds of cells: nearly all are free."""
VIEWS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""Axes that are flipped."""


class Contrast(nn.Module):
    """(B, 1, 96, 96) pictures to (B, 2, 96, 96): less their mean, over their deviation; and less the mean of 17 x 17
    pixels around, over the picture's mean deviation from that. So exposures look alike, and small defects stand out."""

    def forward(self, x: Tensor) -> Tensor:
        """Both planes."""
        whole = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 0.1)
        local = x - nn.functional.avg_pool2d(nn.functional.pad(x, (8, 8, 8, 8), "reflect"), 17, stride=1)
        local = local / (local.abs().mean((2, 3), keepdim=True) + 0.05)
        return torch.cat([whole, local.clamp(-6, 6)], dim=1)


class Inspector(nn.Module):
    """(B, 1, 96, 96) pictures to (B, 6, 1 + 144) scores: of the whole picture, then of each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Contrast(), *layer(2, 8, 5, 2), *layer(8, 16, 3, 2), *layer(16, 24, 3, 1), *layer(24, 32, 3, 2),
            *layer(32, 32, 3, 1), nn.Dropout2d(0.1),
        )  # fmt: skip
        self.cells = nn.Conv2d(32, 6, 1)
        self.head = nn.Linear(2 * (32 + 6), 6)

    def forward(self, x: Tensor) -> Tensor:
        """While it trains, of the picture as it is; else the mean over the picture and its three mirror images."""
        if self.training:
            return self.scores(x)
        return torch.stack([self.scores(x.flip(axes), axes) for axes in VIEWS]).mean(0)

    def scores(self, x: Tensor, flipped: tuple[int, ...] = ()) -> Tensor:
        """Logarithms of probabilities; cells lie as in the picture that was flipped."""
        seen = self.body(x)
        cells = self.cells(seen)
        both = torch.cat([seen, cells], dim=1)
        picture = self.head(torch.cat([both.amax((2, 3)), both.mean((2, 3))], dim=1))
        return torch.cat([picture[:, :, None], cells.flip(flipped).flatten(2)], dim=2).log_softmax(1)


def layer(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
    """A convolution, its norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return [convolution, nn.GroupNorm(4, outputs), nn.ReLU()]


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the picture, and of its cells."""
    picture = nn.functional.cross_entropy(outputs[:, :, 0], targets[:, 0], label_smoothing=0.05)
    return picture + nn.functional.cross_entropy(outputs[:, :, 1:], targets[:, 1:], weight=torch.tensor(WEIGHTS))


def copies(own: Examples, rng: np.random.Generator) -> Examples:
    """Pictures as often as ``COPIES`` says, each flipped and moved by up to a cell at random, and its cells with it."""
    rows = np.repeat(np.arange(own.count), np.array(COPIES)[own.y[:, 0]])
    pictures, cells = own.array[rows, 0], own.y[rows, 1:].reshape(-1, CELLS, CELLS)
    side = pictures.shape[1] // CELLS
    for place in range(len(rows)):
        axes = tuple(np.flatnonzero(rng.random(2) < 0.5).tolist())
        down, right = rng.integers(-1, 2, 2).tolist()
        pictures[place] = moved(np.flip(pictures[place], axes), side, side * down, side * right)
        cells[place] = moved(np.flip(cells[place], axes), 1, down, right)
    return Examples(pictures[:, None], np.column_stack([own.y[rows, 0], cells.reshape(len(rows), -1)]))


def moved(plane: np.ndarray, margin: int, down: int, right: int) -> np.ndarray:
    """A square plane moved by at most the margin; what is missing is mirrored."""
    side, wide = len(plane), np.pad(plane, margin, mode="symmetric")
    return wide[margin + down : margin + down + side, margin + right : margin + right + side]


def stations() -> FederatedData:
    """Six devices with copies of their pictures."""
    data = load("magnetic_tile", cells=CELLS)
    own = {name: copies(data[name], np.random.default_rng(place)) for place, name in enumerate(data.clients)}
    return from_clients(data.name, own, meaning=data.meaning, test=data.test)


def task() -> BalancedTask:
    """Needs the data set ``magnetic_tile``."""
    return BalancedTask(Inspector, stations(), loss, name="tiles", headline="balanced_accuracy", class_axis=1)
