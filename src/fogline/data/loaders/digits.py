"""Handwritten digits, 8 x 8, that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from fogline.data.examples import Examples
from fogline.data.loaders.folder import DatasetFolder, MissingPackageError
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import flatten, random_test
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

MEAN, STD = 0.3053, 0.3760


@dataset("digits", "1797 digits 8x8, 10 classes; needs no files", source="scikit-learn")
def digits(folder: DatasetFolder, *, flat: bool = False) -> RawData:
    """Images (n, 1, 8, 8); a fifth of each class is the test set. Source: Alpaydin and Kaynak, UCI, 1998."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError("Data set 'digits' needs scikit-learn: pip install 'fogline[sklearn]'.") from error
    images, labels = load_digits(return_X_y=True)
    x = ((np.asarray(images, np.float32) / 16 - MEAN) / STD).astype(np.float32).reshape(-1, 1, 8, 8)
    x = flatten(x) if flat else x
    y = np.asarray(labels, np.int64)
    train, test = random_test(y)
    return RawData("digits", x, y, Meaning(10), test=Examples(x[test], y[test]), rows=train)
