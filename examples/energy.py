"""The next hour's load of seventeen houses (CityLearn challenge 2022).

Natural split: one device per building. Honest metric: the root mean squared error on the last fifth of the year,
which comes after all training hours, in kWh; the loss is that of targets in standard deviations of the training
load. Saying "as in the hour before" is the forecast to beat: ``python examples/energy.py`` prints it.
"""

import numpy as np
from torch import nn

from fogline import Task, load
from fogline.training.torch.models import mlp

HOURS = 24


def model() -> nn.Module:
    """Loads of the last day, and the calendar, to one number."""
    return mlp(HOURS + 12, (64, 32), 1)


def task() -> Task:
    """Needs the data set ``citylearn2022``."""
    return Task(model, load("citylearn2022", window=HOURS), loss="mse", name="energy")


def persistence() -> float:
    """Root mean squared error of repeating the hour before, in kWh."""
    data = load("citylearn2022", window=HOURS)
    assert data.test is not None
    return data.meaning.target_scale * float(np.sqrt(np.mean((data.test.x[:, HOURS - 1] - data.test.y) ** 2)))


if __name__ == "__main__":
    print(f"rmse of repeating the hour before: {persistence():.4f} kWh")
