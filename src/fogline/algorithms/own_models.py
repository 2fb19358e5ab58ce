"""What methods share in which each device keeps a model of its own: instead of a common one, or beside it."""

from __future__ import annotations

from typing import ClassVar

from fogline.algorithms.base import Algorithm
from fogline.params import State, Vector
from fogline.training.context import DeviceContext
from fogline.training.phase import Phases, TrainingPhase

MODEL = "model"
"""Name of the device's model in what it keeps: a method's ``report``, or what its ``phases`` return, gives it."""


class PersonalModels(Algorithm):
    """A device that has a model of its own is judged with it, and fine-tunes it; one that has not trained yet, with the
    common one. It never leaves the device."""

    def own(self, device: DeviceContext) -> Vector:
        """The device's model, (P,)."""
        received: Vector = device.model
        return device.local.get(MODEL, received)

    def judge(self, device: DeviceContext) -> Vector:
        return self.own(device)

    def fine_tune(self, device: DeviceContext) -> Phases:
        yield TrainingPhase(self.own(device))


class OwnModels(PersonalModels):
    """Devices begin with the root's model and go on with their own; the root's stays."""

    inner_rounds: ClassVar[bool] = False
    movement: ClassVar[str] = ""
    global_model: ClassVar[bool] = False

    def broadcast(self, state: State) -> State:
        return state

    def begin(self, device: DeviceContext) -> Vector:
        return self.own(device)
