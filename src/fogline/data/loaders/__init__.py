"""Public data sets by name, one file each or for a few that are alike: every file registers its own by a decorator."""

from fogline.data.loaders.folder import MissingDatasetError, MissingPackageError
from fogline.data.loaders.registry import dataset, datasets, load, load_raw

__all__ = ["MissingDatasetError", "MissingPackageError", "dataset", "datasets", "load", "load_raw"]
