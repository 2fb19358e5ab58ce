"""What the hooks of a device see: its round, its examples, its vectors, and the model as functions.

Between the steps of a round (``prepare``, ``begin``, ``report``, ``judge``) vectors are numpy arrays and the model is
as it is judged (no dropout). In a step (``adjust_outputs``, ``adjust_loss``) they are tensors of the backend, and the
model is as it trains. Either way they can only be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from fogline.data import Examples, FederatedData
from fogline.data.inputs import arrays_of, mapped
from fogline.params import Spec, State, Vector
from fogline.training.kept_on_device import Home
from fogline.training.local import ClientJob
from fogline.training.plan import Plan, UnseenPlan
from fogline.training.reading import read_only

Array = Any
"""A numpy array or a tensor of the backend, on the engine's device."""

Loss = Callable[[Any, Any], Any]
"""(outputs (n, ...), classes last, and targets as they were given), both tensors, to a scalar tensor."""

WORK, ROUND, STEPS = range(3)
"""Streams of random numbers, one for each time at which hooks are called: none disturbs another."""


class Draws:
    """The random numbers of a device's round.

    Args:
        seed: of the device's round.
        common_seed: of the round, the same on all its devices.
        stream: ``WORK``, ``ROUND`` or ``STEPS``.
    """

    def __init__(self, seed: int, common_seed: int, stream: int) -> None:
        self._seed, self._common_seed, self._stream = seed, common_seed, stream

    @cached_property
    def own(self) -> np.random.Generator:
        """The device's own."""
        return np.random.default_rng((0, self._seed, self._stream))

    @cached_property
    def common(self) -> np.random.Generator:
        """Those that all devices of the round have."""
        return np.random.default_rng((1, self._common_seed, self._stream))


class RoundContext:
    """What is known of a device's round before the model is there: all that ``work`` sees."""

    def __init__(self, client: str, round: int, draws: Draws) -> None:
        self.client = client
        """The device's name."""
        self.round = round
        """How many rounds its parent made before."""
        self.draws = draws

    def __getattr__(self, name: str) -> Any:
        """What the other hooks see is not there yet.

        Raises:
            AttributeError: always; the sentence says what there is.
        """
        raise AttributeError(
            f"device.{name} is not there: before the model has come there are client, round, rng and common_rng, and "
            "the plan"
        )

    @property
    def rng(self) -> np.random.Generator:
        """Seeded by job, device and round."""
        return self.draws.own

    @property
    def common_rng(self) -> np.random.Generator:
        """Gives the same on all devices of a round."""
        return self.draws.common


class ModelFunctions(Protocol):
    """The model under weights (P,) that a hook chooses, with the device's own buffers."""

    def outputs(self, weights: Array, x: Any) -> Array:
        """Outputs (n, ...), without gradient."""
        ...

    def features(self, weights: Array, x: Any) -> Array:
        """The input (n, d) of the last linear layer, without gradient."""
        ...

    def loss(
        self, weights: Array, x: Any, y: Array, gradient: bool, own: Loss | None = None
    ) -> tuple[float, Array | None]:
        """The mean loss, the task's or one's ``own``, and its gradient (P,) if that is wanted."""
        ...


@dataclass(slots=True)
class LocalBatch:
    """A step's examples as its hooks see them; tensors."""

    inputs: Any
    """(B, ...), or several arrays by place or name."""
    targets: Array
    """(B, ...)"""
    outputs: Array = None
    """(B, ...) with gradient: what the loss is taken of; in ``local_round`` there are none yet."""
    tap: Array | None = None
    heads: Sequence[Array] = ()
    """(B, ..., classes) each, with gradient: all complete answers of a model that gives several, the last of which are
    ``outputs``."""

    @property
    def features(self) -> Array:
        """(B, d) with gradient: the input of the model's last linear layer.

        Raises:
            ValueError: the model has no linear layer.
        """
        if self.tap is None:
            raise ValueError(NO_FEATURES)
        return self.tap

    def arrays(self) -> list[Array]:
        """All that must not be written to."""
        known = [self.targets, self.outputs, *self.heads, *arrays_of(self.inputs)]
        return known if self.tap is None else [*known, self.tap]


NO_PUBLIC = "give it some: from_clients(..., public=Examples(x, y)), or data.with_public(500) of its test set"

SEALED = (
    "a device's examples are asked for, and the job protects each of them (privacy.unit = 'example'): only steps may "
    "see them, which clip what each one does and add noise"
)

UNSEEN = "a device's examples are asked for, and one that trains by code of its own keeps them to itself"

NO_FEATURES = (
    "the model's features, the input of its last linear layer, are asked for; this model has no linear layer that "
    "gives the engine one"
)


class ContextTask(Protocol):
    """What a context asks of a task."""

    data: FederatedData
    home: Home | None
    sealed: bool
    trains_itself: ClassVar[bool]

    @property
    def spec(self) -> Spec:
        """The layout of the model."""
        ...

    def model_functions(self, job: ClientJob) -> ModelFunctions:
        """The model with that device's buffers, as it is judged."""
        ...


class DeviceContext:
    """One device's round.

    Args:
        task: model and data.
        job: what the device was asked; with its state as ``prepare`` left it, where that was called.
        draws: its random numbers, where an earlier hook of the round has begun with them.
        end: the trained model, (floats,).
        plan: what was done, where it is known.
    """

    def __init__(
        self,
        task: ContextTask,
        job: ClientJob,
        draws: Draws | None = None,
        end: Vector | None = None,
        plan: Plan | None = None,
    ) -> None:
        self._task, self._job, self._end, self._plan = task, job, end, plan
        self.draws = draws or Draws(job.seed, job.common_seed, ROUND)

    @property
    def client(self) -> str:
        """What the data calls the device."""
        return str(self._task.data.clients[self._job.client])

    @property
    def name(self) -> str:
        """What the device's parent calls it: no other has that name. In a simulation :attr:`client`; on a real node its
        own name, whatever its data is called there."""
        return self._job.node or self.client

    @property
    def spec(self) -> Spec:
        """Names, shapes and places of the shared parameters in the vectors."""
        return self._task.spec if self._task.home is None else self._task.home.part.shared

    @property
    def shared_names(self) -> list[str]:
        """Names of the entries that train and are shared."""
        return self.spec.trained_names

    @property
    def private_names(self) -> list[str]:
        """Names of the entries that train and that each device has of its own."""
        shared = set(self.shared_names)
        return [name for name in self._task.spec.trained_names if name not in shared]

    @property
    def round(self) -> int:
        """How many rounds its parent made before."""
        return self._job.round

    @property
    def rng(self) -> np.random.Generator:
        """Seeded by job, device and round."""
        return self.draws.own

    @property
    def common_rng(self) -> np.random.Generator:
        """Gives the same on all devices of a round."""
        return self.draws.common

    @cached_property
    def examples(self) -> Examples:
        """The device's examples, loaded when they are first asked for.

        Raises:
            ValueError: the job protects each of them, or nobody but the device's own code sees them.
        """
        if self._task.sealed:
            raise ValueError(SEALED)
        if self._task.trains_itself:
            raise ValueError(UNSEEN)
        examples = self._task.data.at(self._job.client)
        return Examples(mapped(read_only, examples.x), read_only(examples.y))

    @property
    def public(self) -> Examples:
        """The examples of the task's data that are no device's own, and known to all.

        Raises:
            ValueError: there are none.
        """
        data = self._task.data
        if data.public is None:
            raise ValueError(f"public examples are asked for, and the data set '{data.name}' has none; {NO_PUBLIC}")
        return Examples(mapped(read_only, data.public.x), read_only(data.public.y))

    @cached_property
    def plan(self) -> Plan:
        """How much it trains; in ``report``, how much it trained."""
        job = self._job
        if self._task.trains_itself:
            return cast("Plan", UnseenPlan(None if self._plan is None else self._plan.samples))
        samples = int(self._task.data.sizes()[job.client])
        return self._plan or Plan(job.steps, samples, job.learning_rate, job.batch_size)

    @cached_property
    def model(self) -> Array:
        """(P,) the parent's model, as it was received."""
        job = self._job
        return self._head(job.start if job.model is None else job.model)

    @cached_property
    def start(self) -> Array:
        """(P,) where training starts: the parent's model, or what ``begin`` gives."""
        return self._head(self._job.start)

    @property
    def end(self) -> Array:
        """(P,) where training ended; in ``report``.

        Raises:
            AttributeError: it has not ended yet.
        """
        if self._end is None:
            raise AttributeError("device.end is there in report only, when the device has trained")
        return self._head(self._end)

    @cached_property
    def local(self) -> State:
        """What the device keeps, by name."""
        return read_only(self._job.local)

    @cached_property
    def received(self) -> State:
        """What the parent sent beside the model, by name."""
        return read_only(self._job.received)

    def arrays(self) -> list[Array]:
        """Tensors that must not be written to; numpy arrays refuse it by themselves."""
        return []

    def outputs_at(self, weights: Array, batch: LocalBatch | Examples) -> Array:
        """The model's outputs (n, ...) under those weights (P,), without gradient."""
        return self.functions.outputs(self._checked(weights), _inputs(batch))

    def features_at(self, weights: Array, batch: LocalBatch | Examples) -> Array:
        """The input (n, d) of the model's last linear layer under those weights, without gradient.

        Raises:
            ValueError: the model has no linear layer.
        """
        return self.functions.features(self._checked(weights), _inputs(batch))

    def loss_at(self, weights: Array, examples: LocalBatch | Examples) -> float:
        """The mean loss under those weights."""
        return self.functions.loss(self._checked(weights), *_pair(examples), gradient=False)[0]

    def gradient_at(self, weights: Array, examples: LocalBatch | Examples, loss: Loss | None = None) -> Array:
        """The gradient (P,) at those weights of the task's mean loss, or of ``loss(outputs, targets)``.

        ``loss`` is given tensors, outputs with the classes last and targets as they are in ``examples``, and gives the
        mean over them.
        """
        return self._cut(self.functions.loss(self._checked(weights), *_pair(examples), gradient=True, own=loss)[1])

    @cached_property
    def functions(self) -> ModelFunctions:
        """The model as it is judged, with the device's own buffers."""
        return self._task.model_functions(self._job)

    def _checked(self, weights: Array) -> Array:
        """Weights that a hook chose, as all that trains: what is private, the device has of its own.

        Raises:
            ValueError: they are not as many as the model has.
        """
        shape, wanted = getattr(weights, "shape", None), (self.spec.trainable,)
        if shape != wanted:
            given = "nothing" if weights is None else f"shape {tuple(shape)}" if shape is not None else repr(weights)
            raise ValueError(f"the model has weights {wanted}, and is asked for with {given}")
        home = self._task.home
        return weights if home is None else home.part.trained.put(weights, self._trained())

    def _trained(self) -> Array:
        """All that trains, private entries too: where the round began, or in ``report`` where it ended."""
        return (self._job.start if self._end is None else self._end)[: self._task.spec.trainable]

    def _head(self, vector: Vector) -> Array:
        return read_only(self._cut(vector[: self._task.spec.trainable]))

    def _cut(self, trained: Array) -> Array:
        """The shared part of what trains."""
        return trained if self._task.home is None else self._task.home.part.trained.cut(trained)


def _inputs(batch: LocalBatch | Examples) -> Any:
    return batch.inputs if isinstance(batch, LocalBatch) else batch.x


def _pair(batch: LocalBatch | Examples) -> tuple[Any, Array]:
    return (batch.inputs, batch.targets) if isinstance(batch, LocalBatch) else (batch.x, batch.y)
