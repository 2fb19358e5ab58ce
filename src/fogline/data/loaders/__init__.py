"""Public data sets by name. Importing the files below registers their loaders."""

from fogline.data.loaders import (
    bearings,
    digits,
    energy,
    har,
    machines,
    mnist,
    pictures,
    shakespeare,
    turbofan,
)
from fogline.data.loaders.folder import MissingDataset, MissingPackage
from fogline.data.loaders.registry import dataset, datasets, load, load_raw

REGISTERED = (bearings, digits, energy, har, machines, mnist, pictures, shakespeare, turbofan)

__all__ = ["MissingDataset", "MissingPackage", "dataset", "datasets", "load", "load_raw"]
