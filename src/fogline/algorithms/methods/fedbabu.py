"""FedBABU."""

from __future__ import annotations

from typing import ClassVar

from fogline.algorithms.methods.fedper import FedPer
from fogline.algorithms.registry import METHODS
from fogline.training.context import DeviceContext
from fogline.training.phase import Phases, TrainingPhase


@METHODS.add("fedbabu")
class FedBABU(FedPer):
    """The body is trained on a head that stays as it began; devices fine-tune to be judged (Oh et al., ICLR 2022).

    In rounds devices train the body alone, which is averaged as FedAvg does it, and the head is the first model's on
    all of them (arXiv 2106.06042, algorithm 1). To be judged, a device fine-tunes the whole model for five epochs, or
    as ``evaluation.fine_tune`` says. ``private`` names the head; if it is empty, it is the last layer that trains.
    """

    fine_tune_epochs: ClassVar[int] = 5

    def phases(self, device: DeviceContext) -> Phases:
        yield TrainingPhase(only=device.shared_names)
