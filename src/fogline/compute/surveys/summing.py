"""Exchanges that add up what devices are asked beside the training: what they come to, and what an aggregator brings
of it into the exchange above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fogline.aggregation import Arrays, Partial, UnusableUpdateError, Update
from fogline.aggregation.tally import NAMES, SurveySums
from fogline.compute.exchanging import ExchangeOnFiles
from fogline.compute.folding import Form, form_of
from fogline.compute.surveys.layouts import VECTOR, place_name, vector_of
from fogline.exchanges import Exchange, ExchangeError


@dataclass(frozen=True, slots=True)
class SumFolds:
    """Takes what such an exchange comes to, where that of training has the fold of a rule."""

    def misfit(self, form: Form) -> str | None:
        """Why sums of that form are none; None if they are."""
        right = len(form) == 3 and form[:2] == ((0,), VECTOR)
        return None if right else "It brings something else than sums in one vector."

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
    """Carries such an exchange out: what it comes to is written as sums, by place."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange, SumFolds())

    def _brought(self, value: Arrays) -> Arrays:
        if NAMES not in value:
            return super()._brought(value)
        try:
            return brought_by(SurveySums.from_arrays(value)).to_arrays()
        except UnusableUpdateError as error:
            raise ExchangeError(f"What this node has added up cannot be brought: {error}") from error

    def _result(self, result: Update | Partial) -> Arrays:
        return tally_of(result).to_arrays()


def tally_of(result: Update | Partial) -> SurveySums:
    """What the exchange came to, as aggregators hand it on."""
    vectors = result.sums if isinstance(result, Partial) else result.vectors
    (vector,) = vectors.values()
    return SurveySums.of({place_name(place): float(value) for place, value in enumerate(vector)})


def brought_by(tally: SurveySums) -> Update:
    """What an aggregator has added up, as it brings it into the exchange with its parent: the sum alone, and not those
    of the parts that are told apart where sums go up as they are."""
    return vector_of([*tally.sums.values()])
