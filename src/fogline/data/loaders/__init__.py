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
from fogline.data.loaders.folder import MissingDatasetError, MissingPackageError
from fogline.data.loaders.registry import dataset, datasets, load, load_raw

REGISTERED = (bearings, digits, energy, har, machines, mnist, pictures, shakespeare, turbofan)

__all__ = ["MissingDatasetError", "MissingPackageError", "dataset", "datasets", "load", "load_raw"]
