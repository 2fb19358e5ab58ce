"""How a quantity differs from device to device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

Floats = npt.NDArray[np.float64]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FORMS = "a number, {uniform = [low, high]}, {lognormal = {median = m, sigma = s}} or {choice = [...]}"


class Lognormal(BaseModel):
    """``median * exp(sigma * z)`` with ``z`` standard normal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    median: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    sigma: Annotated[float, Field(ge=0, le=5)]


class Distribution(BaseModel):
    """One of four shapes; in TOML a number, ``{uniform = [low, high]}``, ``{lognormal = {median, sigma}}`` or
    ``{choice = [...]}`` (each equally likely). Quantities are not negative."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    constant: Amount | None = None
    uniform: tuple[Amount, Amount] | None = None
    lognormal: Lognormal | None = None
    choice: Annotated[tuple[Amount, ...], Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float | Mapping | Distribution):
            raise ValueError(f"write {FORMS}, not {value!r}")
        return {"constant": value} if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _one_form(self) -> Distribution:
        if sum(form is not None for form in (self.constant, self.uniform, self.lognormal, self.choice)) != 1:
            raise ValueError(f"write exactly one of {FORMS}")
        if self.uniform and self.uniform[0] > self.uniform[1]:
            raise ValueError("uniform must be [low, high]")
        return self

    @property
    def least(self) -> float:
        """Lower end of what can be drawn."""
        if self.constant is not None:
            return self.constant
        if self.uniform is not None:
            return self.uniform[0]
        return min(self.choice) if self.choice is not None else np.finfo(float).tiny

    @property
    def most(self) -> float:
        """Upper end of what can be drawn."""
        if self.constant is not None:
            return self.constant
        if self.uniform is not None:
            return self.uniform[1]
        return max(self.choice) if self.choice is not None else np.inf

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """That many independent values, shape (count,). A longer draw begins with the values of a shorter one."""
        if self.constant is not None:
            return np.full(count, self.constant)
        if self.lognormal is not None:
            values = rng.standard_normal(count)
            values *= self.lognormal.sigma
            np.exp(values, out=values)
            values *= self.lognormal.median
            return values
        if self.uniform is not None:
            values = rng.random(count)
            values *= self.uniform[1] - self.uniform[0]
            values += self.uniform[0]
            return values
        table = np.array(self.choice)
        return table[pick(len(table), count, rng)]


def constant(value: PositiveFloat) -> Distribution:
    """The same for all devices."""
    return Distribution(constant=value)


def pick(rows: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """``count`` row numbers below ``rows``, each equally likely; a longer draw begins with a shorter one."""
    values = rng.random(count)
    values *= rows
    return values.astype(np.int32)
