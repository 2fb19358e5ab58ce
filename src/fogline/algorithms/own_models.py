"""What methods share in which each device keeps a model of its own, and sends something else than weights."""

from __future__ import annotations

from typing import ClassVar

from fogline.algorithms.base import Algorithm
from fogline.params import State, Vector
from fogline.training.context import DeviceContext

MODEL = "model"
"""Name of the device's model in what it keeps: a method's ``report`` gives it."""


class OwnModels(Algorithm):
    """Devices begin with the root's model and go on with their own, which they are judged with; the root's stays."""

    inner_rounds: ClassVar[bool] = False
    movement: ClassVar[str] = ""
    global_model: ClassVar[bool] = False

    def broadcast(self, state: State) -> State:
        return state

    def begin(self, device: DeviceContext) -> Vector:
        return _model_of(device)

    def judge(self, device: DeviceContext) -> Vector:
        return _model_of(device)


def _model_of(device: DeviceContext) -> Vector:
    own = device.local.get(MODEL)
    return device.model if own is None else own
