"""Smaller models for devices that cannot train the whole one.

A sub-model is a set of index ranges of the model, and a task whose model has those shapes. A device trains that task as
if it were the whole: engines, hooks and stages see vectors of the smaller model. What it sends says which numbers of
the model it is of (:class:`fogline.params.ranges.ModelRanges`), and an aggregator takes every number's mean over those
who have it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from fogline.data import Examples
from fogline.params import Params, SharedPart, Spec, State
from fogline.params.ranges import Axes, ModelRanges, places_of
from fogline.training.kept_on_device import Home, seen
from fogline.training.local import ClientJob


class SmallerTask(Protocol):
    """What a sub-model asks of the task that has it."""

    @property
    def spec(self) -> Spec:
        """The layout of the smaller model."""
        ...

    sub_models: Any
    """The models within the smaller one."""

    def measured(self, params: Params, examples: Examples, batch_size: int | None, seed: int) -> State:
        """Its running statistics by name, as a pass over examples gives them."""
        ...


@dataclass(eq=False)
class SubModel:
    """A smaller model of a task.

    Args:
        whole: the layout of the whole model.
        task: the smaller model, on the same data.
        ranges: the numbers of the model that a device with it trains, and sends.
        kept: of entries of which it has not everything, the ranges that it has, of frozen ones too.
        cost: MFLOP to train on one example.
        received: bytes of what comes down to a device that has it.
        share: of the numbers of the whole model that train, those that train here.
        tells_buffers: whether it sends its running statistics: those of a narrower model are of another function.
    """

    whole: Spec
    task: SmallerTask
    ranges: ModelRanges
    kept: Mapping[str, Axes]
    cost: float
    received: int
    share: float
    tells_buffers: bool = True
    engines: dict[type[Any], Any] = field(default_factory=dict[type[Any], Any])
    """Engines that train it, by their kind: kept by whoever builds them."""

    def __post_init__(self) -> None:
        entries = self.task.spec.entries
        self._floats = places_of(self.whole, (e for e in entries if e.is_float), self.kept)
        self._counters = places_of(self.whole, (e for e in entries if not e.is_float), self.kept)

    @property
    def is_cut(self) -> bool:
        """Whether it has fewer numbers than the whole, and not only fewer that train."""
        return self._floats.size < self.whole.floats

    def cut(self, whole: Params) -> Params:
        """The smaller model, of a whole one."""
        return Params(self.task.spec, whole.vector[self._floats], whole.counters[self._counters])

    def alone(self, whole: Params, examples: Examples, batch_size: int | None = 100) -> Params:
        """The smaller model of a trained whole one, to be judged or served by itself.

        Running statistics of batch normalisation are of a function, and this is another than the whole: they are
        measured in a pass over examples.

        Args:
            whole: the whole model.
            examples: like those that it is for; labels do not count.
            batch_size: examples that are normalised together; None: all.

        Raises:
            ValueError: they are too few; a sentence.
        """
        own = self.cut(whole)
        for name, values in self.task.measured(own, examples, batch_size, 0).items():
            own.vector[own.spec.slices[name]] = values
        return own

    def opened(self, jobs: Sequence[ClientJob], home: Home | None) -> list[ClientJob]:
        """Jobs for what is shared of the whole model as jobs for the smaller one; those of one model share what is cut.

        Args:
            jobs: of which a parent may have cut the model already.
            home: of the whole model; None: all of it is shared.
        """
        part = SharedPart(self.task.spec, frozenset())
        cuts: dict[tuple[int, int], Params] = {}
        made: list[ClientJob] = []
        for job in jobs:
            key = id(job.start), id(job.counters)
            if key not in cuts:
                if self.is_cut and job.start.size == part.floats.count:
                    cuts[key] = self._filled(part, job, home)
                else:
                    whole = job if home is None else home.opened([job])[0]
                    cuts[key] = self.cut(Params(self.whole, whole.start, whole.counters))
            made.append(replace(job, start=cuts[key].vector, counters=cuts[key].counters))
        return made

    def _filled(self, part: SharedPart, job: ClientJob, home: Home | None) -> Params:
        """The smaller model, of one that a parent has cut: what is frozen did not come with it."""
        if home is None:
            return Params(self.task.spec, job.start, job.counters)
        base = self.cut(home.first)
        vector, counters = part.floats.put(job.start, base.vector), part.counters.put(job.counters, base.counters)
        return Params(self.task.spec, vector, counters)


class ReceivedHome(Home):
    """What does not train of a smaller model and came with the rest: jobs are for all of it already."""

    def opened(self, jobs: Sequence[ClientJob]) -> list[ClientJob]:
        return [replace(job, local=seen(job.local)) for job in jobs]


class ModelCutter(ABC):
    """Makes smaller models of one task's model. Each is made once."""

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """The layout of the whole model."""

    @abstractmethod
    def narrow(self, width: float, scaled: bool = False) -> SubModel:
        """Every layer between input and output has the first ``width`` of its units, rounded up; 0 < width <= 1.

        Args:
            width: of the units.
            scaled: whether what linear layers and convolutions give is divided in training by the share of their units
                that is left: then what comes next gets as much as in the whole model.

        Raises:
            ValueError: a layer cannot be made narrower; one sentence that names it.
        """

    @property
    @abstractmethod
    def exits(self) -> int:
        """How many outputs the model gives, one behind the other.

        Raises:
            ValueError: it gives one.
        """

    @abstractmethod
    def shallow(self, exits: int) -> SubModel:
        """The first outputs, and what they rest on.

        Raises:
            ValueError: what they rest on cannot be told.
        """

    @abstractmethod
    def low_rank(self, rank: int) -> SubModel:
        """Adapters have the first ``rank`` rows of A and columns of B; all, where they have fewer.

        Raises:
            ValueError: the model has no low-rank adapters.
        """

    @abstractmethod
    def only(self, names: Iterable[str]) -> SubModel:
        """The whole model, of which only the entries of these names train."""


class SubModels:
    """Which smaller model a device has, by its share.

    Args:
        cutter: makes smaller models of the task's.
        candidates: from the task's cutter to the method's smaller models, the largest first.
        subject: the method, for people.
    """

    def __init__(
        self, cutter: ModelCutter, candidates: Callable[[ModelCutter], Iterable[SubModel]], subject: str
    ) -> None:
        self.own: SubModel | None = None
        """Which of them the task itself is; None: the whole."""
        self._candidates = iter(candidates(cutter))
        self._subject = subject
        self._made: list[SubModel] = []

    def of(self, share: float) -> SubModel | None:
        """The largest with at most that share of the numbers that train; None: the whole.

        Raises:
            ValueError: there is none, or it cannot be made of this model; one sentence.
        """
        if share >= 1.0:
            return None
        place = 0
        while True:
            if place == len(self._made):
                self._make(1)
            if place == len(self._made):
                least = f", and the smallest has {self._made[-1].share:.3g}" if self._made else ""
                raise ValueError(
                    f"A device has a share of {share:g} of the model, and {self._subject} has no smaller model that "
                    f"fits{least}; give it a larger share, or the method smaller models"
                )
            if self._made[place].share <= share:
                return self._made[place]
            place += 1

    def nested(self) -> list[SubModel]:
        """The models within the task's own, itself among them if it is a smaller one; the largest first."""
        self._make(None)
        return self._made if self.own is None else self._made[self._made.index(self.own) :]

    def _make(self, count: int | None) -> None:
        for made in islice(self._candidates, count):
            within = copy(self)  # What is made is in a list that all share.
            within.own = made
            made.task.sub_models = within
            self._made.append(made)
