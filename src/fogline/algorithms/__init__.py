"""Federated methods: what a device does, what an aggregator does."""

from fogline.algorithms.base import AggregatorContext, Algorithm, ClientUpdate, Weighted
from fogline.algorithms.methods.decaying_steps import DecayingSteps
from fogline.algorithms.methods.fedasync import FedAsync
from fogline.algorithms.methods.fedat import FedAT
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.methods.fedavgm import FedAvgM
from fogline.algorithms.methods.fedbn import FedBN
from fogline.algorithms.methods.fedbuff import FedBuff
from fogline.algorithms.methods.feddc import FedDC
from fogline.algorithms.methods.feddyn import FedDyn
from fogline.algorithms.methods.fedexp import FedExP
from fogline.algorithms.methods.fedlc import FedLC
from fogline.algorithms.methods.fedmd import FedMD
from fogline.algorithms.methods.fednova import FedNova
from fogline.algorithms.methods.fedntd import FedNTD
from fogline.algorithms.methods.fedopt import FedAdagrad, FedAdam, FedOpt, FedYogi
from fogline.algorithms.methods.fedper import FedPer
from fogline.algorithms.methods.fedproto import FedProto
from fogline.algorithms.methods.fedprox import FedProx
from fogline.algorithms.methods.fedpvr import FedPVR
from fogline.algorithms.methods.fedsam import FedSAM
from fogline.algorithms.methods.fedsgd import FedSGD
from fogline.algorithms.methods.hierfavg import HierFAVG
from fogline.algorithms.methods.ifca import IFCA
from fogline.algorithms.methods.moon import Moon
from fogline.algorithms.methods.mtgc import MTGC
from fogline.algorithms.methods.scaffnew import Scaffnew
from fogline.algorithms.methods.scaffold import Scaffold
from fogline.algorithms.registry import METHODS, find, make
from fogline.attributes import describe_attributes
from fogline.modes import Mode

__all__ = [
    "IFCA",
    "METHODS",
    "MTGC",
    "AggregatorContext",
    "Algorithm",
    "ClientUpdate",
    "DecayingSteps",
    "FedAT",
    "FedAdagrad",
    "FedAdam",
    "FedAsync",
    "FedAvg",
    "FedAvgM",
    "FedBN",
    "FedBuff",
    "FedDC",
    "FedDyn",
    "FedExP",
    "FedLC",
    "FedMD",
    "FedNTD",
    "FedNova",
    "FedOpt",
    "FedPVR",
    "FedPer",
    "FedProto",
    "FedProx",
    "FedSAM",
    "FedSGD",
    "FedYogi",
    "HierFAVG",
    "Mode",
    "Moon",
    "Scaffnew",
    "Scaffold",
    "Weighted",
    "find",
    "make",
]

describe_attributes(__name__)
