"""What a job says of differential privacy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from fogline.jobs.checked import StrictModel

Unit = Literal["example", "device", "site"]


class Privacy(StrictModel):
    """Differential privacy: nobody can tell from what the job gives away whether one unit took part."""

    called = "privacy"

    unit: Unit = "device"
    """What is protected as one: an ``example`` (DP-SGD on the device), all data of a ``device``, or of a ``site`` (all
    devices of one owner)."""
    mechanism: str = "gaussian"
    """How noise is made, with parameters in brackets: see ``fogline algorithms``."""
    at: str = ""
    """Who adds it: the tier of that name, or ``devices``. Empty: the root for devices and sites, and devices for
    examples."""
    clip: PositiveFloat = 1.0
    """L2 norm that one unit's movement (of an example: its gradient) is scaled down to."""
    noise: NonNegativeFloat = 1.0
    """Standard deviation of the noise, over ``clip``."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Probability with which the promise may fail."""
    epsilon: PositiveFloat | None = None
    """What may be spent: the run ends before it is exceeded. None: it is only counted."""
    accountant: Literal["pld", "rdp", "zcdp"] = "pld"
    """What adds it up."""
