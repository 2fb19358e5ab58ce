"""Human activity from a smartphone's motion sensors."""

from __future__ import annotations

import numpy as np

from fogline.data.examples import Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import flatten
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

ACTIVITIES = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "laying")


@dataset(
    "uci_har",
    "10299 motion windows 9x128, 6 activities; clients are 21 people, 9 more are held out",
    source="UCI Human Activity Recognition Using Smartphones (UCI id 240)",
)
def uci_har(folder: DatasetFolder, *, flat: bool = False) -> RawData:
    """Windows (n, 9, 128) at 50 Hz: body acceleration, angular rate and total acceleration, x y z each.

    Channels are scaled by the training people's mean and deviation. The official test people are held out,
    and together are the test set. Source: Anguita et al., ESANN 2013.
    """
    arrays = folder.npz("uci_har_inertial.npz")
    x = arrays["x"].astype(np.float32)
    y = arrays["y"].astype(np.int64)
    in_test = arrays["official_test"]
    training = x[~in_test]
    x -= training.mean(axis=(0, 2), dtype=np.float64).astype(np.float32)[:, None]
    x /= training.std(axis=(0, 2), dtype=np.float64).astype(np.float32)[:, None]
    x = flatten(x) if flat else x
    owner = np.array([f"subject-{subject:02d}" for subject in arrays["subject"].tolist()])
    held_out = tuple(sorted(set(owner[in_test].tolist())))
    test = Examples(x[in_test], y[in_test])
    return RawData("uci_har", x, y, Meaning(6, ACTIVITIES), test=test, owner=owner, held_out=held_out)
