"""The next hour's load of seventeen houses (CityLearn challenge 2022).

Natural split: one device per building. Honest metric: the root mean squared error of each house on its own last fifth
of the year, which comes after all its training hours, in kWh; the loss is that of targets in standard deviations of
the training load. ``python examples/energy.py`` prints the forecasts to beat, which need no model.
"""

from dataclasses import replace

import numpy as np
from torch import nn

from fogline import Task
from fogline.data import load_raw
from fogline.training.torch.models import mlp

DAY, DAYS = 24, 7
WEEK = DAY * DAYS
CALENDAR = 12


def history(x: np.ndarray) -> np.ndarray:
    """Rows (n, 168 + 12) of the week before and the calendar as rows (n, 50).

    They are the last day hour by hour; of the six days before it the load in the same hour as the one to come, and in
    the hour before that; the week's mean and deviation; and the calendar.
    """
    week, calendar = x[:, :WEEK], x[:, WEEK:]
    same, before = week[:, : WEEK - DAY : DAY], week[:, DAY - 1 : WEEK - 1 : DAY]
    level = np.stack([week.mean(axis=1), week.std(axis=1)], axis=1)
    return np.concatenate([week[:, -DAY:], same, before, level, calendar], axis=1)


def model() -> nn.Module:
    """A small network on a house's week and the calendar."""
    return mlp(DAY + 2 * (DAYS - 1) + 2 + CALENDAR, (64, 32), 1)


def task() -> Task:
    """Needs the data set ``citylearn2022``."""
    raw = load_raw("citylearn2022", window=WEEK)
    data = replace(raw, x=history(raw.x)).split_with_own_tests()
    return Task(model, data, loss="mse", name="energy")


def simple_forecasts() -> dict[str, float]:
    """Root mean squared error over the hours of all houses that are judged, in kWh, of forecasts without a model."""
    raw = load_raw("citylearn2022", window=WEEK)
    assert raw.test is not None
    week = raw.test.array[:, :WEEK]
    same_hour = week[:, ::DAY]
    said = {
        "the hour before": week[:, -1],
        "the same hour of the day before": same_hour[:, -1],
        "the mean of that hour over a week": same_hour.mean(axis=1),
    }
    return {
        name: raw.meaning.target_scale * float(np.sqrt(np.mean((guess - raw.test.y) ** 2)))
        for name, guess in said.items()
    }


if __name__ == "__main__":
    for name, error in simple_forecasts().items():
        print(f"{name}: rmse {error:.4f} kWh")
