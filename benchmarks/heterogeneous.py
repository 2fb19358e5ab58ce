"""Unequal devices: smaller models for the weak ones, against small models for all, and against leaving the weak out.

    python -m benchmarks.heterogeneous [--seeds N] [--rounds N] [--rate R] [--even] [--speed]

Ten devices have 200 images of fashion_mnist each, 14 x 14 pixels (means of four), Dirichlet(0.3) by class; of every
five devices three can hold at most a quarter of the model. Two models: a CNN, and one with a head at each of three
depths. Each method is compared on its model with ``small``: FedAvg in which everybody trains the quarter, which is what
is judged; and ``dropped``: FedAvg of the whole model among the two in five that can hold it. What there is to win at
most is ``whole``: FedAvg of it among all. One pass a round in batches of 20, the same rate for all. Of the model with
heads, DepthFL is judged by the mean of its heads, as in its paper, and they teach each other from the first round;
what it is compared with by that or by the deepest head, whichever is better.

- ``accuracy``: of each, on 2,000 test images, in per cent: the mean over the last ten rounds, as from one round to the
  next it goes up and down by some points; the median over the seeds. ``fjord_cut``: of FjORD's model, cut to the
  quarter after the last round.
- ``over_small``, ``over_dropped``: points that a method is better, the median over the seeds.
- ``better_than_both``: whether every method is.
- ``share``: of the numbers that train, what a weak device has.

With ``--even``, the same images are spread evenly, and all devices have all classes.

With ``--speed`` instead: ``milliseconds`` of processor time that a round of all devices takes (100 steps, one thread),
by method and engine, the least of several.

What a run came to is kept by what decides it, so that a benchmark that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.accuracy.runs import digest
from benchmarks.common import SCRATCH, console, kept, median, report
from benchmarks.few_images import few_images
from fogline import FedAvg, Task, simulate
from fogline.algorithms import Algorithm, make
from fogline.algorithms.device import run_cohort
from fogline.algorithms.methods.fjord import FjORD
from fogline.algorithms.sub_models import with_sub_models
from fogline.data import Examples, FederatedData, from_clients
from fogline.params import Params
from fogline.training import ClientJob, LocalTraining

DEVICES, IMAGES, TESTED = 10, 200, 2000
WEAK, QUARTER = 3 / 5, 0.25
WIDTH = 0.4
"""Of every layer of the CNN: 22 % of its numbers."""
COMPARED = ("whole", "small", "dropped")
"""What is trained beside the methods."""
REPEATS = 6
LAST = 10
"""Rounds that are judged together."""
STATE = SCRATCH / "heterogeneous"
"""What runs came to."""


def cnn() -> nn.Module:
    """Convolutions of 8 and 16 maps, 64 units: 6,058 numbers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


class DeepCNN(nn.Module):
    """Three depths with a head each: 21,926 numbers, of which the first two depths have 22 %."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.head1 = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(108, 10))
        self.second = nn.Sequential(nn.Conv2d(12, 24, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head2 = nn.Linear(96, 10)
        self.third = nn.Sequential(nn.Linear(96, 160), nn.ReLU())
        self.head3 = nn.Linear(160, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The heads' outputs, the deepest last."""
        one = self.first(x)
        two = self.second(one)
        return self.head1(one), self.head2(two), self.head3(self.third(two))


def weak(place: int) -> bool:
    """Of every five devices, three."""
    return place % 5 < 5 * WEAK


def smaller(images: Any) -> npt.NDArray[np.float32]:
    """Images of half the height and width."""
    pixels = np.asarray(images, np.float32)
    return pixels.reshape(len(pixels), 1, 14, 2, 14, 2).mean((3, 5))


def some_images(seed: int, even: bool = False) -> tuple[FederatedData, FederatedData]:
    """The data of all devices, and of the strong ones alone."""
    few, test = few_images("fashion_mnist", DEVICES, IMAGES, TESTED, seed)
    if even:
        x, y = np.concatenate([part.array for part in few]), np.concatenate([part.y for part in few])
        order = np.random.default_rng(seed).permutation(len(y)).reshape(DEVICES, -1)
        few = [Examples(x[places], y[places]) for places in order]
    parts = {
        f"{'weak' if weak(place) else 'strong'}-{place}": (smaller(part.x), part.y) for place, part in enumerate(few)
    }
    strong = {name: part for name, part in parts.items() if name.startswith("strong")}
    made = [from_clients("fashion_mnist", some, test=(smaller(test.x), test.y), classes=10) for some in (parts, strong)]
    return made[0], made[1]


def trained(
    task: Task, method: Algorithm, seed: int, rounds: int, rate: float, shares: bool = False
) -> dict[str, float]:
    """``accuracy`` of one run in per cent, of now or before; and ``cut``, of FjORD's model."""
    settings: dict[str, Any] = {
        "rounds": rounds,
        "shares": {"devices": {"weak-*": QUARTER}} if shares else None,
        "local": {"learning_rate": rate, "batch_size": 20, "epochs": 1},
        "seed": seed,
        "engine": "stacked",
    }

    def measured() -> dict[str, float]:
        result = simulate(task, method, processes=0, progress=False, **settings)
        found = {"accuracy": 100 * float(np.mean([row["accuracy"] for row in result.history[-LAST:]]))}
        if isinstance(method, FjORD):
            found["cut"] = 100 * cut_accuracy(task, result.params)
        return found

    decided_by = settings | {"answer": task.answered_by}
    return kept(STATE / f"{digest(task, method, decided_by)}.json", measured)


def cut_accuracy(task: Task, params: Params) -> float:
    """Of a trained model's part of that width."""
    part, test = task.cutter().narrow(WIDTH), task.data.test
    assert test is not None
    own = cast("Task", part.task)
    return own.metrics(own.evaluate(part.cut(params), test))["accuracy"]


def family(
    make_module: Any, methods: dict[str, Algorithm], seed: int, rounds: int, rate: float, even: bool
) -> dict[str, float]:
    """Accuracy in per cent of methods on one model, and of what they are compared with."""
    data, strong = some_images(seed, even)
    cutter, heads = Task(make_module, data).cutter(), make_module is DeepCNN
    share = (cutter.shallow(2) if heads else cutter.narrow(WIDTH)).share
    assert share <= QUARTER
    found = dict[str, float]({"share": share})
    answers: tuple[Literal["last", "mean"], ...] = ("last", "mean") if heads else ("last",)
    for answer in answers:
        whole = Task(make_module, data, answer=answer)
        cutter = whole.cutter()
        small = cast("Task", (cutter.shallow(2) if heads else cutter.narrow(WIDTH)).task)
        others = {"whole": whole, "small": small, "dropped": Task(make_module, strong, answer=answer)}
        for name, task in others.items():
            found[name] = max(found.get(name, 0.0), trained(task, FedAvg(), seed, rounds, rate)["accuracy"])
        for name, method in methods.items():  # Of heads by their mean.
            if answer == answers[-1]:
                came_to = trained(whole, method, seed, rounds, rate, shares=True)
                found[name] = came_to["accuracy"]
                if "cut" in came_to:
                    found[f"{name}_cut"] = came_to["cut"]
    console.print(
        f"seed {seed}: {', '.join(f'{name} {value:.1f}' for name, value in found.items() if name != 'share')}"
    )
    return found


FAMILIES: dict[str, tuple[Any, dict[str, Algorithm]]] = {
    "cnn": (cnn, {
        "heterofl": make("heterofl", widths=(WIDTH,)),
        "heterofl_unscaled": make("heterofl", widths=(WIDTH,), scaler=False),
        "fjord": make("fjord", widths=(WIDTH,)),
    }),
    "deep": (DeepCNN, {"depthfl": make("depthfl", ramp_up=0)}),
}  # fmt: skip


def speed() -> dict[str, dict[str, float]]:
    """Milliseconds of a round by method and engine."""
    data, _ = some_images(0)
    local, found = LocalTraining(learning_rate=0.1, batch_size=20), dict[str, dict[str, float]]()
    methods = [(make_module, name, method) for make_module, own in FAMILIES.values() for name, method in own.items()]
    distils = make("fjord", widths=(WIDTH,), distils=True)
    for make_module, name, method in [(cnn, "fedavg", FedAvg()), *methods, (cnn, "fjord, distils", distils)]:
        task = with_sub_models(Task(make_module, data), method)
        start = task.initial(0)
        jobs = [
            ClientJob(
                place, start.vector, start.counters, IMAGES // 20, 0.1, place,
                share=QUARTER if weak(place) and name != "fedavg" else 1.0,
            )
            for place in range(DEVICES)
        ]  # fmt: skip
        found[name] = {}
        for engine in ("loop", "flat", "stacked"):
            built, took = task.build(engine, method, local), list[float]()
            for _ in range(REPEATS):
                before = time.process_time()
                run_cohort(built, method, task, jobs)
                took.append(time.process_time() - before)
            found[name][engine] = round(1e3 * min(took), 1)
        console.print(f"{name}: {found[name]} ms")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--even", action="store_true")
    parser.add_argument("--speed", action="store_true")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.speed:
        report("heterogeneous_speed", {"milliseconds": speed()})
        return
    result: dict[str, dict[str, float]] = {"share": {}, "accuracy": {}, "over_small": {}, "over_dropped": {}}
    for model, (make_module, methods) in FAMILIES.items():
        found = [
            family(make_module, methods, seed, asked.rounds, asked.rate, asked.even) for seed in range(asked.seeds)
        ]
        result["share"][model] = round(found[0]["share"], 3)
        for name in [name for name in found[0] if name != "share"]:
            key = f"{model}_{name}" if name in COMPARED else name
            result["accuracy"][key] = round(median(one[name] for one in found), 2)
        for name in methods:
            for other in ("small", "dropped"):
                result[f"over_{other}"][name] = round(median(one[name] - one[other] for one in found), 2)
    gains = [*result["over_small"].values(), *result["over_dropped"].values()]
    name = "heterogeneous_even" if asked.even else "heterogeneous"
    report(name, result | {"better_than_both": min(gains) > 0, "seeds": asked.seeds})


if __name__ == "__main__":
    main()
