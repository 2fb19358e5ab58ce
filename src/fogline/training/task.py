"""What is learned: a model, its data and how it is judged. One subclass per backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

from fogline.data import Examples, FederatedData
from fogline.params import Params, Spec
from fogline.training.local import ClientJob, LocalTraining, Trained
from fogline.training.method import LocalMethod

Sums = dict[str, float]
"""Sums over examples, always with ``count``: they add up over devices, fogs and batches."""


class Engine(ABC):
    """Runs the local training of a cohort of devices. ``loop`` is the reference; others must agree with it."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for ``fogline engines``."""
    together: ClassVar[bool] = False
    """Whether the devices of one call step together, so that their number changes the speed."""

    @classmethod
    @abstractmethod
    def refuses(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        """Why this engine cannot run that job, as a sentence; None if it can."""

    @abstractmethod
    def train(self, jobs: Sequence[ClientJob]) -> list[Trained]:
        """Train every device of the cohort; results in the order of ``jobs``.

        A device whose loss or weights are not finite, or whose training raises, comes back with ``failure``
        set, and does not disturb the others.
        """


class Task(ABC):
    """A model and its federated data."""

    name: str
    data: FederatedData
    headline: str
    """The metric that people look at first (``accuracy``, ``rmse``)."""
    higher_is_better: bool

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Layout of the model."""

    @abstractmethod
    def initial(self, seed: int) -> Params:
        """The untrained model of that seed. The same seed gives the same bits."""

    @abstractmethod
    def engines(self) -> Mapping[str, type[Engine]]:
        """Engines of this backend by name, the reference first."""

    @abstractmethod
    def build(self, engine: str, method: LocalMethod, local: LocalTraining) -> Engine:
        """An engine, ready to train.

        Raises:
            ValueError: the engine is unknown or refuses the job; the sentence says why.
        """

    @property
    def cost(self) -> float:
        """MFLOP to train on one example, roughly: six per trainable parameter. Scales modelled training time."""
        return 6e-6 * self.spec.trainable

    @contextmanager
    def one_thread(self) -> Generator[None]:
        """Keeps the backend to one thread: the simulator runs one process per core."""
        yield

    @abstractmethod
    def evaluate(self, params: Params, examples: Examples) -> Sums:
        """Judge a model on examples, as sums (``count``, ``loss``, ``correct`` or ``squared_error``, …)."""

    @abstractmethod
    def metrics(self, sums: Sums) -> dict[str, float]:
        """Turn sums into what people read: ``loss`` and ``accuracy``, or ``rmse`` and ``mae``."""
