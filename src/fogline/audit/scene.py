"""The job under attack: its runs with a tap on the links, on data as each attack needs them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.algorithms import Algorithm, make
from fogline.audit import twins
from fogline.audit.findings import NotApplicableError
from fogline.audit.knowledge import Knowledge
from fogline.audit.tap import Tap, View
from fogline.data import Examples, FederatedData
from fogline.data.inputs import joined
from fogline.jobs import Evaluation, Job
from fogline.jobs.starting import first_model
from fogline.params import Params, save
from fogline.simulation.callbacks import STOP
from fogline.simulation.run import run
from fogline.training.figures import sums_of
from fogline.training.task import Task

Losses = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How much an audit does."""

    examples: tuple[int | None, ...] = (1, 2, 4, 8, None)
    """Trials with devices of so many examples; None: with their own data."""
    rounds: int = 3
    """Rounds of the job that are looked at, where an attack looks at several."""
    devices: int = 4
    """Devices under attack from each place."""
    shadows: int = 16
    """Runs of the attacker's own, to learn what members look like (LiRA)."""
    canaries: int = 200
    """Wrong examples that are put into the data by the flip of a coin."""
    iterations: int = 300
    """Steps of an attack that searches."""
    pictures: int = 8
    """Examples that an attack tries to rebuild at most."""
    seed: int = 0
    """Of all that the attacker draws."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A run as it was seen."""

    task: Task
    """As the run had it: on its data."""
    initial: Params
    """The whole model before any training."""
    views: list[View]

    def places(self) -> list[str]:
        """Where something was seen, from the devices up; the models last."""
        return list(dict.fromkeys(view.place for view in self.views))

    def at(self, place: str, round_: int | None = None) -> list[View]:
        """What was seen there, in that round or in all."""
        return [view for view in self.views if view.place == place and round_ in (None, view.round)]

    def params(self, view: View, moved: bool) -> Params:
        """The model that went down, or the one that it says came up: what it was, moved.

        Raises:
            NotApplicableError: part of the model stays on the devices.
        """
        home = self.task.home
        if home is not None and home.part.private:
            raise NotApplicableError("part of the model stays on the devices, and the attack wants all of it")
        one, spec = view.members[0], self.task.shared
        vector = one.start.copy()
        if moved:
            vector[: spec.trainable] += view.movement
        shared = Params(spec, vector, one.counters)
        return shared if home is None else home.part.hand_out(shared, self.initial)

    def examples(self, view: View) -> Examples:
        """What was trained on."""
        clients = dict.fromkeys(member.client for member in view.members)
        parts = [self.task.data.at(client) for client in clients]
        return Examples(joined([part.x for part in parts]), np.concatenate([part.y for part in parts]))


@dataclass
class Scene:
    """A job and its task, and what attacks have in common.

    Args:
        job: as it would be run.
        task: that it names.
        settings: how much is done.
        algorithm: the job's, where its name alone cannot make it.
    """

    job: Job
    task: Task
    settings: AuditSettings = field(default_factory=AuditSettings)
    algorithm: Algorithm | None = None
    _start: Path = field(init=False)
    _initial: Params = field(init=False)
    _runs: dict[tuple[int | None, int], Observation] = field(default_factory=dict[Any, Observation], init=False)

    def __post_init__(self) -> None:
        self.task.seed = self.job.seed

    @property
    def data(self) -> FederatedData:
        """The job's."""
        return self.task.data

    @cached_property
    def method(self) -> Algorithm:
        """The job's method."""
        return self.algorithm or make(self.job.algorithm.name, **self.job.algorithm.parameters)

    @contextmanager
    def opened(self) -> Generator[Scene]:
        """Keeps the first model, which all runs of the audit begin with, for as long as the audit takes."""
        with TemporaryDirectory(prefix="fogline-audit-") as folder, self.task.one_thread():
            self._start = Path(folder) / "start.safetensors"
            self._initial = first_model(self.job, self.task, self.job.start)
            save(self._start, self._initial)
            yield self

    def trial(self, examples: int | None) -> Observation:
        """The first round of the job on devices of so many examples; on their own data: its first rounds."""
        key = examples, 1 if examples is not None else self.settings.rounds
        if key not in self._runs:
            self._runs[key] = self.observe(twins.first(self.data, examples), key[1])
        return self._runs[key]

    def observe(self, data: FederatedData, rounds: int, draw: int = 0) -> Observation:
        """The job on other data, as it is seen.

        Args:
            data: with the same clients.
            rounds: of the root, after which it ends.
            draw: another one for another run with the same first model: order, noise and masks are drawn anew.

        Raises:
            JobError, RunError: the job cannot run so.
            NotApplicableError: nobody saw a movement of the model.
        """
        last = min(rounds, self.job.rounds)
        job = self.job.model_copy(
            update={
                "seed": (self.job.seed + draw) % 2**63,
                "start": str(self._start),
                "engine": self.job.engine or next(iter(self.task.engines())),
                "chunk": self.job.chunk or 1,
                "executor": "inline",
                "processes": 0,
                "evaluation": Evaluation(every=self.job.rounds + 1),
                "queries": (),
                "attack": None,  # It is honest devices that are to be protected.
                "checkpoint_every": None,
            }
        )
        tap = Tap(job, self.method.movement, last)
        run(
            job,
            self.task.on(data),
            algorithm=self.algorithm,
            progress=False,
            on_round=lambda row, model, state: STOP if row["round"] >= last else None,
            witness=tap,
        )
        if not tap.views:
            raise NotApplicableError("nothing that this method sends is a movement of one model")
        return Observation(tap.task, self._initial, tap.views)

    def known(self, view: View, examples: int | None) -> Knowledge:
        """What the adversary knows beside a view.

        Raises:
            NotApplicableError: nothing.
        """
        return Knowledge.of(self.data, {member.client for member in view.members}, examples)

    def seen(self) -> Iterator[tuple[int | None, Observation, View]]:
        """One view from every place in the first round of every trial."""
        for examples in self.settings.examples:
            trial = self.trial(examples)
            for place in trial.places():
                for view in trial.at(place, 0)[:1]:
                    yield examples, trial, view


def losses(task: Task, params: Params, examples: Examples) -> Losses:
    """(n,) the model's loss on each example."""
    sums = [sums_of(task, params, examples.part(slice(i, i + 1))) for i in range(examples.count)]
    return np.array([one["loss"] / max(one["count"], 1.0) for one in sums])
