"""What a run gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fogline.jobs import Job
from fogline.params import Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, float]
"""One round: ``round``, ``seconds`` (virtual clock), ``wall`` (seconds), ``joules``, ``down/TIER`` and ``up/TIER``
(bytes so far on the links below that tier), ``train_loss``, ``updates`` (trainings that succeeded),
``devices`` (whose updates are in the round's model), ``failed`` …, and, where the model was
judged, the task's metrics (``accuracy``, ``loss`` …)."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over devices or groups."""

    mean: float
    worst_decile: float
    """Mean over the tenth that fares worst."""
    std: float
    values: dict[str, float]
    """By device or group."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What it took to reach the target of the headline metric."""

    target: float
    round: int
    seconds: float
    bytes: int
    joules: float


@dataclass(slots=True)
class Result:
    """A finished run.

    ``metrics``: of the global model on the test set; ``fogs`` and ``devices``: the headline metric on the training
    data of each fog's devices and of each device; ``held_out``: metrics on devices that never trained; ``counts``:
    what went wrong (``late``, ``failed``, ``dropped out``, ``abandoned`` …) and ``reasons`` the first reason of each;
    ``units``: of the metrics that have one.
    """

    job: Job
    headline: str
    params: Params
    history: list[Row]
    metrics: dict[str, float]
    fogs: Spread | None = None
    devices: Spread | None = None
    held_out: dict[str, float] = field(default_factory=dict)
    reached: Reached | None = None
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    wall: float = 0.0
    folder: Path | None = None
    units: dict[str, str] = field(default_factory=dict)

    def frame(self) -> Any:
        """The history as a pandas data frame, one row a round."""
        import pandas as pd

        return pd.DataFrame(self.history)

    def summary(self) -> str:
        """The result as plain text of up to 100 columns."""
        from fogline.monitoring.table import as_text

        return as_text(self)

    def plot(self) -> Figure:
        """One figure: the headline metric and the loss, traffic, and how devices fare.

        Raises:
            ImportError: matplotlib is not installed (``pip install fogline[plots]``).
        """
        from fogline.monitoring.plots import overview

        return overview(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from fogline.monitoring.table import as_html

        return as_html(self)
