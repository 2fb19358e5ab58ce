"""The job that is attacked, and what may stand against the attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fogline
from fogline import Job, load
from fogline.jobs import check
from fogline.training.torch.models import lenet, mlp

CLIENTS = 32
FOGS = 2
Tables = Mapping[str, Any]
"""Tables of a job that take the place of the plain job's."""


def digits() -> fogline.Task:
    """A dense network on digits of 8 by 8."""
    data = load("digits", partition="iid", clients=CLIENTS)
    return fogline.Task(lambda: mlp(64, (64,), 10), data, name="digits, dense")


def mnist() -> fogline.Task:
    """LeNet on digits of 28 by 28."""
    data = load("mnist", partition="iid", clients=600)
    data = data.sample(dict.fromkeys(range(CLIENTS), 100))
    return fogline.Task(lenet, data, name="mnist, LeNet")


TASKS: dict[str, Callable[[], fogline.Task]] = {"digits": digits, "mnist": mnist}


def tree(cloud: Tables | None = None, fog: Tables | None = None) -> Tables:
    """Two fogs below a cloud."""
    return {"tree": {"cloud": dict(cloud or {}), "fog": {"count": FOGS, **(fog or {})}}}


DEFENCES: dict[str, Tables] = {
    "none": {},
    "local steps": {"local": {"epochs": 5}},
    "clip": tree(fog={"uplink": ["clip(norm=0.1)"]}),
    "int8": tree(fog={"uplink": ["int8"]}),
    "secagg": tree(fog={"exchange": "secagg"}),
    "noise of devices": {"privacy": {"at": "devices", "clip": 0.5, "noise": 0.5}},
    "noise of examples": {"privacy": {"unit": "example", "clip": 1.0, "noise": 1.0}},
    "noise at the cloud": {"privacy": {"clip": 0.5, "noise": 1.0}},
}
"""By what the table calls them."""


def job(defence: str) -> Job:
    """The plain job, with what stands against the attacks."""
    plain: dict[str, Any] = {
        "name": defence,
        "rounds": 3,
        "seed": 1,
        "engine": "loop",
        "local": {"learning_rate": 0.1, "batch_size": 10},
        **tree(),
    }
    given = dict(DEFENCES[defence])
    given["local"] = plain["local"] | dict(given.get("local", {}))
    return check(plain | given)
