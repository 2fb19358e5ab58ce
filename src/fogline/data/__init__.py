"""Federated data: which client holds what, how to divide a data set, and loaders for public ones."""

from fogline.attributes import describe_attributes
from fogline.data.build import from_arrays, from_clients
from fogline.data.dataset import FederatedData
from fogline.data.examples import Examples
from fogline.data.indices import Partition
from fogline.data.loaders import MissingDatasetError, MissingPackageError, dataset, datasets, load, load_raw
from fogline.data.meaning import Meaning
from fogline.data.partitioners import PARTITIONERS
from fogline.data.partitioners.classes import classes_per_client
from fogline.data.partitioners.dirichlet import dirichlet
from fogline.data.partitioners.iid import iid
from fogline.data.partitioners.natural import by_natural_id
from fogline.data.partitioners.quantity import quantity_skew
from fogline.data.partitioners.shards import shards
from fogline.data.picture import label_counts, plot_partition
from fogline.data.raw import RawData
from fogline.data.sources import FeatureNoise

__all__ = [
    "PARTITIONERS",
    "Examples",
    "FeatureNoise",
    "FederatedData",
    "Meaning",
    "MissingDatasetError",
    "MissingPackageError",
    "Partition",
    "RawData",
    "by_natural_id",
    "classes_per_client",
    "dataset",
    "datasets",
    "dirichlet",
    "from_arrays",
    "from_clients",
    "iid",
    "label_counts",
    "load",
    "load_raw",
    "plot_partition",
    "quantity_skew",
    "shards",
]

describe_attributes(__name__)
