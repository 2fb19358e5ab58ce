"""What trackers have in common: they are told of a run, and write in a thread of their own, so that none slows it."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue

from fogline.errors import InputError
from fogline.jobs import Job
from fogline.jobs.writing import job_to_toml
from fogline.monitoring.progress import Progress, Silent
from fogline.monitoring.result import Result, Row
from fogline.plugins import Registry

log = logging.getLogger("fogline.monitoring")
LAST = 30.0
"""Seconds that what is left may take to be written when the run is over."""


class TrackerError(InputError, ValueError):
    """A tracker cannot be used; one sentence."""


class Tracker(Silent):
    """Writes a run elsewhere, as it goes on.

    What cannot be written any more is left out, with a warning: a run does not fail for it.

    Args:
        where: a folder or an address, as the tracker has it.
    """

    name = ""
    failures: tuple[type[Exception], ...] = (OSError,)
    """What goes wrong where it writes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._broken = False
        self._open = False
        self._rounds = self._left = 0
        """Rounds that are to come."""

    # What each tracker does.

    def begin(self, job: Job) -> None:
        """Begin a run. It is called once, in the run's own thread.

        Raises:
            TrackerError: nobody can write there.
        """
        raise NotImplementedError

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a round, which are finite; ``step`` is 1 for the first."""
        raise NotImplementedError

    def end(self, finished: bool) -> None:
        """The run is over; ``finished``: and has come to its end."""
        raise NotImplementedError

    # What a run tells.

    def started(self, job: Job, population: int, fogs: int, headline: str = "", unit: str = "") -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        self.begin(job)
        self._open, self._rounds, self._left = True, job.rounds, job.rounds

    def round(self, row: Row) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        step, values = int(row["round"]), numbers(row)
        self._left = self._rounds - step
        self._later(lambda: self.write(step, values))

    def finished(self, result: Result) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        self._end(True)

    def close(self) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        self._end(not self._left)

    # Inside.

    def _later(self, work: Callable[[], None]) -> None:
        if self._thread is None:  # Not before the first round: worker processes are forked before that.
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()
        self._waiting.put(work)

    def _end(self, finished: bool) -> None:
        if not self._open:
            return
        self._open = False
        self._later(lambda: self.end(finished))
        self._waiting.put(None)
        assert self._thread is not None
        self._thread.join(LAST)
        if self._thread.is_alive():
            log.warning("%s (%s) did not take all of the run within %g s", self.name, self.where, LAST)

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            if self._broken:
                continue
            try:
                work()
            except self.failures as error:
                self._broken = True
                log.warning("%s (%s) takes no more of this run: %s", self.name, self.where, error)


TRACKERS: Registry[type[Tracker]] = Registry("tracker", "fogline.monitoring.trackers", error=TrackerError)


class Together(Silent):
    """Tells several of a run.

    Args:
        told: who is told, in this order.
    """

    def __init__(self, told: Sequence[Progress]) -> None:
        self._told = told

    def started(self, job: Job, population: int, fogs: int, headline: str = "", unit: str = "") -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        for one in self._told:
            one.started(job, population, fogs, headline, unit)

    def engine(self, name: str, chunk: int, processes: int) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        for one in self._told:
            one.engine(name, chunk, processes)

    def round(self, row: Row) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        for one in self._told:
            one.round(row)

    def note(self, text: str) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        for one in self._told:
            one.note(text)

    def finished(self, result: Result) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        for one in self._told:
            one.finished(result)

    def close(self) -> None:
        """See :class:`fogline.monitoring.progress.Progress`."""
        for one in self._told:
            one.close()


def tracker(text: str) -> Tracker:
    """The tracker that a text names: ``tensorboard=FOLDER``, ``mlflow=URI``.

    Raises:
        TrackerError: there is none of that name, it has no place to write to, or its library is not installed.
    """
    name, equals, where = text.partition("=")
    if not equals or not where:
        raise TrackerError(f"'{text}' names no place; write one of {', '.join(f'{one}=WHERE' for one in TRACKERS)}")
    kind = TRACKERS.find(name)
    try:
        return kind.thing(where)
    except ModuleNotFoundError as error:
        raise TrackerError(
            f"{kind.summary.partition(':')[0]} is not installed: pip install 'fogline[{kind.name}]'"
        ) from error


def numbers(row: Row) -> dict[str, float]:
    """What a row says, but for the round itself and what is no number."""
    return {key: float(value) for key, value in row.items() if key != "round" and math.isfinite(value)}


def settings_of(job: Job) -> str:
    """All settings of a job, as text (TOML)."""
    return job_to_toml(job)
