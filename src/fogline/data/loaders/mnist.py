"""MNIST and Fashion-MNIST: 28 x 28 grey images of 10 classes."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from fogline.data.examples import Array
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import Pixels, image_test
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataset("mnist", "60000 + 10000 handwritten digits 28x28, 10 classes", source="MNIST (LeCun, Cortes and Burges)")
def mnist(folder: DatasetFolder, *, flat: bool = False) -> RawData:
    """Images (n, 1, 28, 28), official test set. Source: LeCun et al., Proc. IEEE 86(11), 1998."""
    pixels = Pixels((0.1307,), (0.3081,), flat)
    x, y = (_idx(folder.file(f"train-{part}-ubyte.gz")) for part in ("images-idx3", "labels-idx1"))
    test_x, test_y = (_idx(folder.file(f"t10k-{part}-ubyte.gz")) for part in ("images-idx3", "labels-idx1"))
    test = image_test(pixels, test_x[:, None], test_y)
    return RawData("mnist", x[:, None], y, Meaning(10), test=test, transform=pixels)


@dataset(
    "fashion_mnist",
    "59160 + 9680 pieces of clothing 28x28, 10 classes",
    source="Fashion-MNIST (zalandoresearch/fashion-mnist)",
)
def fashion_mnist(folder: DatasetFolder, *, flat: bool = False) -> RawData:
    """Images (n, 1, 28, 28). Source: Xiao et al., arXiv:1708.07747, 2017.

    The file does not tell for 1160 images whether they are of the official training or test set; they are
    left out, so the test set is 9680 of the official 10000.
    """
    pixels = Pixels((0.2860,), (0.3530,), flat)
    arrays = folder.npz("fashion_mnist_70k.npz")
    x, y, split = arrays["x"][:, None], arrays["y"], arrays["split"]
    test = image_test(pixels, x[split == 1], y[split == 1])
    meaning = Meaning(10, CLOTHES)
    return RawData("fashion_mnist", x, y, meaning, test=test, rows=np.flatnonzero(split == 0), transform=pixels)


def _idx(path: Path) -> Array:
    """Read the format of the MNIST files: a magic number with the rank, the shape, then bytes."""
    with gzip.open(path) as file:
        content = file.read()
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not a file of bytes in the IDX format.")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
