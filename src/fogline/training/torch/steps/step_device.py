"""One device as the hooks of a step see it."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from torch import Tensor

from fogline.training.context import STEPS, DeviceContext, Draws, ModelFunctions
from fogline.training.local import ClientJob
from fogline.training.method import Arrays
from fogline.training.torch.task import TorchTask


class StepDevice(DeviceContext):
    """A device between two steps: its vectors are tensors on the engine's device.

    Args:
        task: model and data.
        job: what the device was asked.
        start: where training starts, all that trains.
        local: what the device keeps.
        received: what the parent sent beside the model.
        functions: the model under other weights, as it trains.
    """

    def __init__(
        self, task: TorchTask, job: ClientJob, start: Tensor, local: Arrays, received: Arrays, functions: ModelFunctions
    ) -> None:
        super().__init__(task, job, Draws(job.seed, job.common_seed, STEPS))
        self._whole = start
        self._start = self._cut(start)
        self._model = self._start if job.model is None else self._cut(task.array(job.model[: task.spec.trainable]))
        self._states = [cast("Arrays", MappingProxyType(state)) for state in (local, received)]
        self._elsewhere = functions
        self._known = [self._start, self._model, *local.values(), *received.values()]

    @property
    def model(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(P,) the parent's model, as it was received."""
        return self._model

    @property
    def start(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(P,) where training started."""
        return self._start

    @property
    def local(self) -> Arrays:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the device keeps, by name."""
        return self._states[0]

    @property
    def received(self) -> Arrays:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the parent sent beside the model, by name."""
        return self._states[1]

    @property
    def functions(self) -> ModelFunctions:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The model as it trains."""
        return self._elsewhere

    def _trained(self) -> Tensor:
        return self._whole

    def arrays(self) -> list[Tensor]:
        """All that must not be written to."""
        return self._known
