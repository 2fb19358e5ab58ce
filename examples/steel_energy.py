"""The load of a steel works an hour ahead, in quarter hours (Gwangyang, 2018).

The plant is one; the split is made: each of its three shifts is a device that has the quarter hours of its own time.
Honest metric: the root mean squared error of each shift on its own quarter hours after the 24th of each month, of which
nobody trains, in kWh; the loss is that of targets in standard deviations of the training load. The forecasts to beat
need no model: ``python examples/steel_energy.py`` prints them.
"""

from dataclasses import replace

import numpy as np
from torch import nn

from fogline import Task
from fogline.data import RawData, load_raw
from fogline.training.torch.models import mlp

HOUR, DAY, DAYS = 4, 96, 7
WEEK = DAYS * DAY
RECENT = 8
"""Quarter hours of which the newest is an hour old."""
CALENDAR = slice(4, 13)
"""Columns of the data set that are known beforehand: time of day as sine and cosine, day of the week."""
SHIFTS = ("night", "early", "late")
"""From 22, 6 and 14 o'clock."""


def history(raw: RawData) -> np.ndarray:
    """(n, 38) for the n quarter hours of the year.

    They are two hours, of which the newest is an hour old; of the seven days before the load at this time, a quarter
    hour before and one after it; and the calendar. In the year's first days these are the loads of its last.
    """
    recent = [np.roll(raw.y, HOUR + quarter) for quarter in range(RECENT)]
    around = [np.roll(raw.y, DAY * day + beside) for day in range(1, DAYS + 1) for beside in (-1, 0, 1)]
    return np.column_stack([*recent, *around, raw.x[:, CALENDAR]]).astype(np.float32)


def shifts() -> RawData:
    """The data set with these features and owners, less its first eight days, which have no whole history."""
    raw = load_raw("steel_energy")
    assert raw.rows is not None
    quarters = np.arange(WEEK + DAY, len(raw.y))
    rows = np.flatnonzero(np.isin(quarters, raw.rows))
    owner = np.array(SHIFTS)[(quarters + 2 * HOUR) % DAY // (DAY // len(SHIFTS))]
    return replace(raw, x=history(raw)[quarters], y=raw.y[quarters], test=None, rows=rows, owner=owner)


def model() -> nn.Module:
    """A small network on a week's load and the calendar."""
    return mlp(RECENT + 3 * DAYS + 9, (64, 32), 1)


def task() -> Task:
    """Needs the data set ``steel_energy``."""
    return Task(model, shifts().split_with_own_tests(), loss="mse", name="steel_energy")


def simple_forecasts() -> dict[str, float]:
    """Root mean squared error on the quarter hours that judge, in kWh, of forecasts without a model."""
    raw = load_raw("steel_energy")
    late = np.setdiff1d(np.arange(WEEK + DAY, len(raw.y)), raw.rows)
    said = {"an hour before": HOUR, "a day before": DAY, "a week before": WEEK}
    errors = {name: (np.roll(raw.y, quarters) - raw.y)[late] for name, quarters in said.items()}
    return {name: raw.meaning.target_scale * float(np.sqrt(np.mean(error**2))) for name, error in errors.items()}


if __name__ == "__main__":
    for name, error in simple_forecasts().items():
        print(f"{name}: rmse {error:.3f} kWh")
