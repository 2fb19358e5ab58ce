"""What devices answer to a query, or find of a model, as numbers in an order that is the same for all.

So an exchange adds them up as it adds updates: one vector of weight 1. The names of the numbers stand nowhere in it, so
that who sees a device's payloads sees not even which classes it has. Aggregators hand the sum on under the places of
the numbers; whoever asked puts the names to them.

Of what a device finds of a model only the task's sums go in, and of no figure of its own: three devices' mean, spread
and sum of one thing are three equations for three unknowns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fogline.aggregation import Update
from fogline.aggregation.spread import COUNT
from fogline.aggregation.tally import SurveySums
from fogline.algorithms import Algorithm
from fogline.compute.surveys.queries import QueryError, asked_by, names_of
from fogline.compute.surveys.survey import COMMON, METRIC, SAID, judges_common
from fogline.exchanges import Exchange
from fogline.jobs import Job, JobError
from fogline.training.figures import names_of_sums
from fogline.training.task import Sums, Task

JUDGEMENT = ""
"""In the place of a query: that the model is to be judged."""
VECTOR = "sums"
"""What the vector is called that is summed."""


class UnsummedError(ValueError):
    """A device's sums do not fit into that of all; a sentence."""


@dataclass(frozen=True, slots=True)
class SumsLayout:
    """How the sums are laid out that a job's devices give.

    Args:
        names: of the sums, in order, by query; under :data:`JUDGEMENT` those of what devices find of a model.
        most: the largest that a device may have.
    """

    names: Mapping[str, tuple[str, ...]]
    most: float

    def update_of(self, query: str, sums: Sums) -> Update:
        """A device's sums as an exchange takes them.

        Args:
            query: that it answers, or :data:`JUDGEMENT`.
            sums: by name.

        Raises:
            UnsummedError: one has a name that was not said before, or is too large.
        """
        names, what = self.names[query], f"query '{query}'" if query else "judging the model"
        sums = sums if query else judged_sums(sums, any(name.startswith(COMMON) for name in names))
        unknown = sorted(sums.keys() - {*names})
        if unknown:
            raise UnsummedError(f"{what} gives '{unknown[0]}', which is none of the names that it says")
        large = next((name for name, value in sums.items() if not abs(value) <= self.most), None)
        if large is not None:
            raise UnsummedError(
                f"{what} gives a '{large}' beyond {self.most:g}, for which the sum of all has no room; raise 'sums' of "
                "the exchange"
            )
        return vector_of([float(sums.get(name, 0.0)) for name in names])

    def named(self, query: str, tally: SurveySums) -> SurveySums:
        """The sums of all, and of the parts that are told apart, by name; from those by place.

        Raises:
            UnsummedError: they are others.
        """
        total = SurveySums.of(self._named(query, tally.sums))
        total.parts = {part: self._named(query, sums) for part, sums in tally.parts.items()}
        return total

    def _named(self, query: str, sums: Mapping[str, float]) -> dict[str, float]:
        names = self.names[query]
        if sorted(sums) != [place_name(place) for place in range(len(names))]:
            what = f"query '{query}'" if query else "what devices find of a model"
            raise UnsummedError(f"The sums that came are not those of {what}.")
        return {name: sums[place_name(place)] for place, name in enumerate(names)}


def layout_of(job: Job, algorithm: Algorithm, task: Task, exchanges: Mapping[str, Exchange]) -> SumsLayout | None:
    """How the sums of a job's devices are laid out; None where each tells its own.

    Args:
        job: what is asked.
        algorithm: the method.
        task: what is judged, on which data.
        exchanges: in which they are added up, by tier (:func:`fogline.jobs.exchanging.survey_exchanges_of`).

    Raises:
        JobError: the names of some sums are not known, or a query is another one in other words; one sentence.
    """
    last = job.tree.names[-1]
    if last not in exchanges:
        return None
    _check_once(job.queries)
    shows, names = f"of which the exchange of tree.{last} shows only sums, and", dict[str, tuple[str, ...]]()
    for query in job.queries:
        try:
            names[query] = names_of(query, task.data.classes)
        except QueryError as error:
            raise JobError(f"queries has '{query}', {shows} {error}; or leave one of them out.") from error
    if job.evaluation.on_devices:
        try:
            names[JUDGEMENT] = _judgement_names(names_of_sums(task), judges_common(algorithm, job.evaluation))
        except ValueError as error:
            said = f"evaluation.where is '{job.evaluation.where}': devices judge, {shows}"
            raise JobError(f"{said} {error}; or leave one of them out.") from error
    return SumsLayout(names, exchanges[last].largest_sum)


def judged_sums(found: Sums, common: bool) -> Sums:
    """What goes into the sum of all, of what a device found of a model: the task's sums, and which of them it has.

    Args:
        found: as :class:`fogline.compute.surveys.survey.Examiner` gives it.
        common: whether devices are judged with another model than the one received, and with that too. Then a device
            that never trains counts as judged with the one received both times: else the two sums would be of
            different devices, and their difference would be of few.
    """
    own = {name: value for name, value in found.items() if name.startswith(METRIC)}
    other = {name: value for name, value in found.items() if name.startswith(f"{COMMON}{METRIC}")}
    both = own | (other or {f"{COMMON}{name}": value for name, value in own.items()}) if common else own
    return {COUNT: 1.0} | both | {f"{SAID}{name}": 1.0 for name in both}


def vector_of(numbers: Sequence[float]) -> Update:
    """Sums in order, as an exchange takes them."""
    return Update({VECTOR: np.array(numbers, np.float64)}, {VECTOR: 1.0})


def place_name(place: int) -> str:
    """What the sum at a place is called while it has no other name."""
    return f"{place:07d}"


def _judgement_names(names: Sequence[str], common: bool) -> tuple[str, ...]:
    own = [f"{METRIC}{name}" for name in names]
    both = [*own, *(f"{COMMON}{name}" for name in own)] if common else own
    return (COUNT, *both, *(f"{SAID}{name}" for name in both))


def _check_once(queries: Sequence[str]) -> None:
    """Refuse one query under two texts: a device brings its answer into one sum for each text."""
    known: dict[str, tuple[str, Mapping[str, object]]] = {}
    for query in queries:
        asked = asked_by(query)
        twin = next((text for text, other in known.items() if other == asked), None)
        if twin is not None:
            raise JobError(
                f"queries has '{twin}' and '{query}', which ask the same, and the difference of their sums could tell "
                "what one device answers; leave one of them out."
            )
        known[query] = asked
