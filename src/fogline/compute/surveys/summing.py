"""What devices answer to a query, as an exchange adds it up: numbers in an order that is the same for all.

An exchange adds updates. A query's sums are one of a single vector, which is called what the query is; the names of
the numbers stand nowhere in it, so that who sees a device's payloads sees not even which classes it has. Aggregators
hand the sum on under the places of the numbers; whoever asked puts the names to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fogline.aggregation import Arrays, Partial, UnusableUpdateError, Update
from fogline.aggregation.tally import SurveySums
from fogline.compute.exchanging import ExchangeOnFiles
from fogline.compute.folding import Form, form_of
from fogline.compute.surveys.queries import QueryError, asked_by, names_of
from fogline.exchanges import Exchange
from fogline.jobs import Job, JobError
from fogline.training.task import Sums


class UnsummedError(ValueError):
    """A device's sums do not fit into that of all; a sentence."""


@dataclass(frozen=True, slots=True)
class QuerySums:
    """How the sums of a job's queries are laid out.

    Args:
        names: of each query's sums, in order.
        most: the largest that a device may have.
    """

    names: Mapping[str, tuple[str, ...]]
    most: float

    def update_of(self, query: str, sums: Sums) -> Update:
        """A device's sums as an exchange takes them.

        Args:
            query: that it answers.
            sums: by name.

        Raises:
            UnsummedError: one has a name that the query does not say, or is too large.
        """
        names = self.names[query]
        unknown = sorted(sums.keys() - {*names})
        if unknown:
            raise UnsummedError(f"query '{query}' gives '{unknown[0]}', which is none of the names that it says")
        large = next((name for name, value in sums.items() if not abs(value) <= self.most), None)
        if large is not None:
            raise UnsummedError(
                f"query '{query}' gives a '{large}' beyond {self.most:g}, for which the sum of all has no room; raise "
                "'sums' of the exchange"
            )
        return Update({query: np.array([float(sums.get(name, 0.0)) for name in names])}, {query: 1.0})

    def named(self, query: str, sums: Mapping[str, float]) -> dict[str, float]:
        """The sums of all by name, from those by place.

        Raises:
            UnsummedError: they are others.
        """
        names = self.names[query]
        if sorted(sums) != [_place(place) for place in range(len(names))]:
            raise UnsummedError(f"The sums that came are not those of query '{query}'.")
        return {name: sums[_place(place)] for place, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class SumFolds:
    """Takes what the exchange of queries comes to, where that of training has the fold of a rule.

    Args:
        queries: of the job.
    """

    queries: tuple[str, ...]

    def misfit(self, form: Form) -> str | None:
        """Why sums of that form are of no query of the job; None if they are."""
        right = len(form) == 3 and form[0] == (0,) and form[1] in self.queries
        return None if right else "Its sums are of no query of this job."

    def unfit(self, value: Update | Partial) -> str | None:
        """The same of a value."""
        return self.misfit(form_of(value))

    def refusal(self, value: Update | Partial) -> str | None:
        """Why a value by itself cannot be added up; None if it can."""
        vectors = value.sums if isinstance(value, Partial) else value.vectors
        return None if all(np.isfinite(vector).all() for vector in vectors.values()) else "Its sums are not finite."

    def as_update(self, value: Update | Partial) -> Update:
        """As it is.

        Raises:
            UnusableUpdateError: it is none of a device's.
        """
        if isinstance(value, Partial):
            raise UnusableUpdateError("It is a partial result, and no device's sums.")
        return value

    def decoded(self, value: Update | Partial) -> Update | Partial:
        """As it is: no stage stands on what devices answer."""
        return value


class SumsOnFiles(ExchangeOnFiles):
    """Carries out the exchange of queries: what it comes to is written as sums, by place."""

    def __init__(self, exchange: Exchange, queries: tuple[str, ...]) -> None:
        super().__init__(exchange, SumFolds(queries))

    def _result(self, result: Update | Partial) -> Arrays:
        return tally_of(result).to_arrays()


def tally_of(result: Update | Partial) -> SurveySums:
    """What the exchange of a query came to, as aggregators hand it on."""
    vectors = result.sums if isinstance(result, Partial) else result.vectors
    (vector,) = vectors.values()
    return SurveySums.of({_place(place): float(value) for place, value in enumerate(vector)})


def query_sums_of(job: Job, exchange: Exchange | None, classes: int | None) -> QuerySums | None:
    """How the sums of a job's queries are laid out.

    Args:
        job: asks them.
        exchange: in which they are added up; None: each device tells its own.
        classes: of the data.

    Raises:
        JobError: a query does not say the names of its sums, or is another one in other words; one sentence.
    """
    if exchange is None:
        return None
    _check_once(job.queries)
    names: dict[str, tuple[str, ...]] = {}
    for query in job.queries:
        try:
            names[query] = names_of(query, classes)
        except QueryError as error:
            last = job.tree.names[-1]
            raise JobError(
                f"queries has '{query}', of which the exchange of tree.{last} shows only sums, and {error}; or leave "
                "one of them out."
            ) from error
    return QuerySums(names, exchange.largest_sum)


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


def _place(place: int) -> str:
    return f"{place:07d}"
