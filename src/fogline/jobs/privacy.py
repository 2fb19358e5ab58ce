"""What a job says of differential privacy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat

from fogline.jobs.checked import StrictModel
from fogline.plugins import read_call

Unit = Literal["example", "device", "site"]
MOST = 1e6
"""The largest clip, and the largest noise over it."""
LEAST_NOISE = 1e-6
"""Over the clip, but for none: less promises nothing, and its square is soon nothing."""
DEVICES = "devices"
"""Where devices add the noise themselves."""


def _known(text: str) -> str:
    """The text, if it names a mechanism, as far as that can be told without a program's own."""
    if ":" not in read_call(text).name:  # Code of one's own may not be here yet.
        from fogline.privacy.mechanisms import make_mechanism  # Not above: who only reads jobs makes no noise.

        make_mechanism(text)
    return text


def _sensible(noise: float) -> float:
    """The noise, if it can be computed with."""
    if noise and not LEAST_NOISE <= noise <= MOST:
        raise ValueError(f"it is {noise:g}; it must be 0, or from {LEAST_NOISE:g} to {MOST:g}")
    return noise


class Privacy(StrictModel):
    """Differential privacy: nobody can tell from what the job gives away whether one unit took part."""

    called = "privacy"

    unit: Unit = "device"
    """What is protected as one: an ``example`` (DP-SGD on the device), all data of a ``device``, or of a ``site`` (all
    devices of one owner)."""
    mechanism: Annotated[str, AfterValidator(_known)] = "gaussian"
    """How noise is made, with parameters in brackets: see ``fogline algorithms``."""
    at: str = ""
    """Who adds it: the tier of that name, or ``devices``. Empty: the root for devices and sites, and devices for
    examples."""
    clip: Annotated[float, Field(gt=0, le=MOST)] = 1.0
    """L2 norm that one unit's movement (of an example: its gradient) is scaled down to; with ``quantile``, at first."""
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The clip follows that quantile of the units' norms (Andrew et al., 2021). None: it stays as it is."""
    noise: Annotated[float, Field(ge=0), AfterValidator(_sensible)] = 1.0
    """Standard deviation of the noise, over ``clip``."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Probability with which the promise may fail."""
    epsilon: PositiveFloat | None = None
    """What may be spent: the run ends before it is exceeded. None: it is only counted."""
    accountant: Literal["pld", "rdp", "zcdp"] = "pld"
    """What adds it up."""
