"""A run's result, as people look at it: a line, a table, a plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fogline.attributes import describe_attributes
from fogline.monitoring.record import Baseline, Reached, Row, RunRecord, Spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Baseline", "Reached", "Result", "Row", "Spread"]


@dataclass(slots=True, repr=False)
class Result(RunRecord):
    """A finished run, and how it is shown. Its fields are those of :class:`~fogline.monitoring.record.RunRecord`."""

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


describe_attributes(__name__)
