"""What is learned: a model, its data and how it is judged. One subclass per backend."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fogline.data import Examples, FederatedData
from fogline.params import Params, Spec, State, Vector
from fogline.plugins import suggest
from fogline.training.context import ModelFunctions
from fogline.training.hook_calls import watched
from fogline.training.kept_on_device import Home
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.makers import Maker, makers
from fogline.training.method import Array, LocalMethod
from fogline.training.metrics import Sums, class_metrics, is_better_higher, number_metrics
from fogline.training.sub_models import ModelCutter, SubModels

__all__ = ["Engine", "Sums", "Task"]


Memory = Callable[[int, npt.DTypeLike], npt.NDArray[Any]]


class Engine(ABC):
    """Runs the local training of a cohort of devices. ``loop`` is the reference; others must agree with it."""

    together: ClassVar[bool] = False
    """Whether the devices of one call step together, so that their number changes the speed."""
    clips_examples: ClassVar[bool] = False
    """Whether it does what ``LocalTraining.privacy`` says; one that does not is refused there."""
    local: LocalTraining
    """How devices train."""
    memory: Memory = np.empty
    """Where trained models are to lie: (count, dtype) to an array. A worker of the simulator sets memory that its
    parent sees, and saves the copy; an engine may lay them elsewhere."""

    @abstractmethod
    def __init__(self, task: Task, method: LocalMethod, local: LocalTraining) -> None:
        """For a job that it does not refuse."""

    @classmethod
    def refusal(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        """Why it must not run that job, as a sentence; None if it may."""
        if local.privacy is not None and not cls.clips_examples:
            return "it cannot clip the gradient of each example, as privacy.unit = 'example' wants."
        return cls.refuses(task, method, local)

    @classmethod
    @abstractmethod
    def refuses(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        """Why this engine cannot run that job, as a sentence; None if it can."""

    @abstractmethod
    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """Train every device of the cohort; results in the order of ``jobs``.

        A device whose loss or weights are not finite, or whose training raises, comes back with ``failure``
        set, and does not disturb the others.

        Raises:
            CodeError: a hook of the method, or the code of the model, is wrong.
        """

    def moved(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """As :meth:`train`, but every ``end`` is how far the device went from its start; of a failed one, anything."""
        done = self.train(jobs)
        for job, trained in zip(jobs, done, strict=True):
            if trained.failure is None:
                np.subtract(trained.end, job.start, out=trained.end)
        return done


class Task(ABC):
    """A model and its federated data.

    Args:
        name: what people call it.
        data: examples per client.
        classifies: whether targets are classes.
        headline: the metric looked at first; None is ``accuracy`` for classes and ``rmse`` for numbers.
        higher_is_better: of the headline; None goes by its name (accuracies higher, losses and errors lower).

    Raises:
        ValueError: the task has no such metric, or its name does not tell which way is better.
    """

    name: str
    data: FederatedData
    classifies: bool
    headline: str
    """The metric that people look at first (``accuracy``, ``rmse``)."""
    makers: tuple[Maker, ...] = ()
    """Functions of the program that were making it, the innermost first."""
    higher_is_better: bool
    trains_itself: ClassVar[bool] = False
    """Whether devices train by code of their own, a round as a whole, on examples that nobody else sees: then a job
    says neither how nor how much, and engines are not measured."""
    on_processor: bool = True
    """Whether this process's processor time is what training takes: not where an accelerator trains."""
    home: Home | None = None
    """What of the model stays on devices; None: nothing does."""
    sealed: bool = False
    """Whether hooks are refused a device's examples: each of them is protected."""
    sub_models: SubModels | None = None
    """Smaller models for devices that cannot train the whole one; None: all train it."""
    seed: int = 0
    """Under which modules are made: that of the job in which the task ran last. Set it to judge another run's model."""

    def __init__(
        self, name: str, data: FederatedData, classifies: bool, headline: str | None, higher_is_better: bool | None
    ) -> None:
        if not isinstance(data, FederatedData):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(
                f"data is a {type(data).__name__}; it must be federated data: load(...), from_clients(...)."
            )
        self.makers = makers()
        self.name = name
        self.data = data
        self.classifies = classifies
        self.headline = headline or ("accuracy" if classifies else "rmse")
        if type(self).metrics is Task.metrics and self.headline not in (known := self.metrics({})):
            raise ValueError(f"There is no metric '{self.headline}' for task '{name}'{suggest(self.headline, known)}")
        self.higher_is_better = is_better_higher(self.headline) if higher_is_better is None else higher_is_better

    def __repr__(self) -> str:
        better = "higher" if self.higher_is_better else "lower"
        return f"<{type(self).__name__} '{self.name}' on {self.data!r}, judged by {self.headline} ({better} is better)>"

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """The layout of the model."""

    @property
    def shared(self) -> Spec:
        """The layout of what devices and aggregators share: the model without what stays on devices."""
        return self.spec if self.home is None else self.home.part.shared

    @abstractmethod
    def initial(self, seed: int) -> Params:
        """The untrained model of that seed. The same seed gives the same bits."""

    def check(self) -> None:  # noqa: B027 - most tasks have nothing to refuse
        """Refuse what would not train, before anything runs.

        Raises:
            ValueError: one sentence.
        """

    @abstractmethod
    def engines(self) -> Mapping[str, type[Engine]]:
        """Engines of this backend by name, the reference first: usually the backend's registry."""

    def build(self, engine: str, method: LocalMethod, local: LocalTraining) -> Engine:
        """An engine, ready to train.

        Raises:
            ValueError: the engine is unknown or refuses the job; the sentence says why.
        """
        kinds = self.engines()
        if engine not in kinds:
            raise ValueError(f"There is no engine '{engine}' for task '{self.name}'{suggest(engine, kinds)}")
        reason = kinds[engine].refusal(self, method, local)
        if reason is not None:
            raise ValueError(f"Engine '{engine}' cannot run this job: {reason}")
        return kinds[engine](self, watched(method, self.home), local)

    @property
    def cost(self) -> float:
        """MFLOP to train on one example, roughly: six per trainable parameter. Scales modelled training time."""
        return 6e-6 * self.spec.trainable

    def one_thread(self) -> AbstractContextManager[None]:
        """Keeps the backend to one thread: the simulator runs one process per core."""
        return nullcontext()

    @contextmanager
    def exact_arithmetic(self) -> Generator[None]:
        """Keeps the backend to the full precision of its numbers, so that engines agree."""
        yield

    @property
    def forkable(self) -> bool:
        """Whether processes can be forked from this one to train in."""
        return True

    @property
    def smallest_batch(self) -> int:
        """The fewest examples that the model can be trained on at once."""
        return 1

    def digest(self, method: LocalMethod) -> str | None:
        """Of all that decides what training does, but for data and settings; None where it cannot be told for sure."""
        return None

    def array(self, vector: Vector) -> Array:
        """A vector as the hooks of a method are handed it."""
        return vector

    def model_functions(self, job: ClientJob) -> ModelFunctions:
        """The model with that device's buffers, as it is judged, for the hooks between the steps.

        Raises:
            ValueError: tasks of this kind do not give it.
        """
        raise ValueError(f"a model under other weights is asked for, which a {type(self).__name__} does not give")

    def on(self, data: FederatedData) -> Self:
        """A twin on other data of its kind."""
        twin = copy.copy(self)
        twin.data = data
        return twin

    def with_home(self, home: Home | None) -> Self:
        """A twin of whose model that stays on devices."""
        twin = copy.copy(self)
        twin.home = home
        return twin

    def trains_only(self, names: Collection[str]) -> Self:
        """A twin of whose model the entries of these names train, and all others are frozen.

        Raises:
            ValueError: tasks of this kind have none.
        """
        raise ValueError(f"frozen entries are asked for, which a {type(self).__name__} does not have")

    def served(self, params: Params) -> tuple[Self, Params]:
        """The task and one of its models as they are served: without adapters that can be merged."""
        return self, params

    def cutter(self) -> ModelCutter:
        """Makes smaller models of this one.

        Raises:
            ValueError: tasks of this kind have none.
        """
        raise ValueError(f"smaller models are asked for, which a {type(self).__name__} does not give")

    def with_sub_models(self, sub_models: SubModels) -> Self:
        """A twin that has smaller models for devices that cannot train the whole one."""
        twin = copy.copy(self)
        twin.sub_models = sub_models
        return twin

    def with_seal(self) -> Self:
        """A twin whose hooks are refused the examples of devices."""
        twin = copy.copy(self)
        twin.sealed = True
        return twin

    def rehearsal(self, data: FederatedData) -> Self:
        """A twin on other data, on which engines are compared."""
        return self.on(data)

    @abstractmethod
    def evaluate(self, params: Params, examples: Examples) -> Sums:
        """Judge a model on examples, as sums (``count``, ``loss``, ``correct`` or ``squared_error``, …)."""

    @property
    def sum_names(self) -> tuple[str, ...]:
        """Names of all sums that :meth:`evaluate` can give, the same on every device; empty: it does not say them.
        Whoever overrides the one says the other: where nobody may see a single device's sums, these are added up in an
        order that all know."""
        return ()

    @property
    def running_statistics(self) -> Sequence[str]:
        """Names of the buffers of batch normalisation, which :meth:`measured` gives."""
        return ()

    def measured(self, params: Params, examples: Examples, batch_size: int | None, seed: int) -> State:
        """The running statistics of a model, as a pass over examples gives them.

        Args:
            params: the model.
            examples: of a device.
            batch_size: examples that are normalised together; None: all.
            seed: of their order.

        Raises:
            ValueError: they are too few; a sentence.
        """
        return {}

    @property
    def judges_outputs(self) -> bool:
        """Whether it can judge outputs that are not a model's own."""
        return False

    def sums_of_outputs(self, outputs: Array, y: Array) -> Sums:
        """What :meth:`evaluate` gives for a model with those outputs (n, ...), the classes last.

        Raises:
            ValueError: it judges whole models only.
        """
        raise ValueError(f"task '{self.name}' judges models, and not outputs")

    @property
    def threshold(self) -> float | None:
        """Above it, an output says the second of two classes; None where there is one output for each class."""
        return None

    def named(self, output: Array) -> Array:
        """The classes that outputs (n, ...) name."""
        return output.argmax(-1)

    def truth(self, y: Array) -> Array:
        """Targets as (n,) or (n, ...) classes or numbers, one for each."""
        return y

    def known(self, truth: Array) -> npt.NDArray[np.bool_]:
        """(...,) where there is a truth, and not a mark for an unknown one."""
        return np.ones(truth.shape, np.bool_)

    def told(self, y: Array) -> npt.NDArray[np.bool_]:
        """(n,) examples of which some target has a truth."""
        return np.asarray(self.known(self.truth(y)).reshape(len(y), -1).any(1), np.bool_)

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Turn sums into what people read: ``loss`` as trained, and ``accuracy``, or ``rmse`` and ``mae`` in the
        target's own unit."""
        return class_metrics(sums) if self.classifies else number_metrics(sums, self.data.meaning)

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the metrics that have one, for people."""
        unit = self.data.meaning.target_unit
        return {"rmse": unit, "mae": unit} if unit else {}
