"""Federated methods: what a device does, what an aggregator does."""

from fogline.algorithms.base import AggregatorContext, Algorithm, ClientUpdate, Weighted
from fogline.algorithms.fedasync import FedAsync
from fogline.algorithms.fedat import FedAT
from fogline.algorithms.fedavg import FedAvg
from fogline.algorithms.fedavgm import FedAvgM
from fogline.algorithms.fedbuff import FedBuff
from fogline.algorithms.feddyn import FedDyn
from fogline.algorithms.fedexp import FedExP
from fogline.algorithms.fedlc import FedLC
from fogline.algorithms.fednova import FedNova
from fogline.algorithms.fedopt import FedAdagrad, FedAdam, FedOpt, FedYogi
from fogline.algorithms.fedprox import FedProx
from fogline.algorithms.fedsam import FedSAM
from fogline.algorithms.fedsgd import FedSGD
from fogline.algorithms.hierfavg import HierFAVG
from fogline.algorithms.moon import Moon
from fogline.algorithms.mtgc import MTGC
from fogline.algorithms.registry import algorithms, find, make, name_and_parameters, summary
from fogline.algorithms.scaffold import Scaffold
from fogline.attributes import describe_attributes
from fogline.settings import Mode

__all__ = [
    "MTGC",
    "AggregatorContext",
    "Algorithm",
    "ClientUpdate",
    "FedAT",
    "FedAdagrad",
    "FedAdam",
    "FedAsync",
    "FedAvg",
    "FedAvgM",
    "FedBuff",
    "FedDyn",
    "FedExP",
    "FedLC",
    "FedNova",
    "FedOpt",
    "FedProx",
    "FedSAM",
    "FedSGD",
    "FedYogi",
    "HierFAVG",
    "Mode",
    "Moon",
    "Scaffold",
    "Weighted",
    "algorithms",
    "find",
    "make",
    "name_and_parameters",
    "summary",
]

describe_attributes(__name__)
