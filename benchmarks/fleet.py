"""A million devices under a thousand fogs: what the nodes, the clock and the folds cost without training.

``python -m benchmarks.fleet`` runs 100 rounds of a cohort of 10,000, synchronous and as FedBuff, with local training
replaced by an update that is ready, and prints ``seconds`` and ``peak_gb`` (the larger of the two modes), and a curve
over the number of devices. Every run is a process of its own, so that peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.common import console, report
from fogline.aggregation import Update
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import GroupModel
from fogline.data import Examples, FederatedData, Partition, from_arrays
from fogline.jobs import Job, Method, Tier, Tree
from fogline.nodes.effects import Move
from fogline.params import Entry, Params, Spec
from fogline.simulation.setup import hello_of, setting_of, simulator_of
from fogline.simulation.simulator import Simulator, Sizes
from fogline.simulation.values import Training, Value
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Sums, Task

NUMBERS = 256
SPEC = Spec.of([Entry("weights", (NUMBERS,), "float32")])


class Idle(Task):
    """A model of a few numbers that nobody trains; every device has one example."""

    name = "idle"
    headline = "loss"
    higher_is_better = False

    def __init__(self, devices: int) -> None:
        x = np.zeros((devices, 1), np.float32)
        self.data: FederatedData = from_arrays(
            "idle", x, x[:, 0], Partition(np.arange(devices), np.arange(devices + 1))
        )

    @property
    def spec(self) -> Spec:
        return SPEC

    def initial(self, seed: int) -> Params:
        return Params.zeros(SPEC)

    def engines(self) -> dict[str, type[Engine]]:
        return {}

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        return {"count": 1.0, "loss": 0.0}

    def metrics(self, sums: Sums) -> dict[str, float]:
        return {"loss": 0.0}


class Ready:
    """A trainer whose updates are ready."""

    def __init__(self) -> None:
        self.update = Update({"delta": np.full(NUMBERS, 1e-3, np.float32)}, {"delta": 1.0})

    def run(self, jobs: Sequence[ClientJob]) -> Iterator[LocalRound]:
        for job in jobs:
            yield LocalRound(job.client, self.update, {}, 1, 0.0, 0.0)


def job_of(mode: str, fogs: int, cohort: int, rounds: int) -> Job:
    """Synchronous rounds, or FedBuff at the fogs and at the cloud."""
    if mode == "sync":
        tree = Tree(cloud=Tier(), fog=Tier(count=fogs, cohort=cohort // fogs))
        return Job(tree=tree, rounds=rounds)
    fog = Tier(count=fogs, mode="async", cohort=cohort // fogs, buffer=cohort // fogs)
    tree = Tree(cloud=Tier(mode="async", buffer=fogs), fog=fog)
    return Job(tree=tree, rounds=rounds, algorithm=Method(name="fedbuff"))


def measure(mode: str, devices: int, fogs: int, cohort: int, rounds: int) -> dict[str, float]:
    """Seconds and peak memory of one run in this process."""
    began = time.perf_counter()
    setting = setting_of(job_of(mode, fogs, cohort, rounds), Idle(devices))
    made: list[Simulator] = []
    updates = 0

    def moved(_: Move, group: Value) -> None:
        made[0].force(group)
        state: GroupModel = group.result
        assert np.isfinite(state.vector).all()

    def trained(_: Training, __: LocalRound) -> None:
        nonlocal updates
        updates += 1

    simulator = simulator_of(setting, Ready(), Sizes(1024, 1024, 1024), trained, moved)
    made.append(simulator)
    simulator.join(setting.job.tree.parents(), hello_of(setting, detailed=False))
    ready = time.perf_counter()
    simulator.run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 2),
        "set_up": round(ready - began, 2),
        "peak_gb": round(peak, 3),
        "updates": updates,
        "microseconds_per_update": round((time.perf_counter() - ready) / max(1, updates) * 1e6, 1),
    }


def in_process(mode: str, devices: int, fogs: int, cohort: int, rounds: int) -> dict[str, float]:
    """The same in a process of its own."""
    arguments = [str(value) for value in (mode, devices, fogs, cohort, rounds)]
    command = [sys.executable, "-m", "benchmarks.fleet", "--one", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    console.print(f"{mode:8} {devices:>9,} devices: {result}")
    return result


def main() -> None:
    """Run the curve and the full fleet in both modes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 100; keeps no result")
    parser.add_argument("--one", nargs=5, metavar=("MODE", "DEVICES", "FOGS", "COHORT", "ROUNDS"))
    options = parser.parse_args()
    if options.one:
        mode, *numbers = options.one
        print(json.dumps(measure(mode, *(int(number) for number in numbers))))
        return
    rounds = 5 if options.quick else 100
    full = {mode: in_process(mode, 1_000_000, 1_000, 10_000, rounds) for mode in ("sync", "fedbuff")}
    curve = {}
    for devices in (1_000, 10_000, 100_000, 1_000_000):
        fogs = max(1, devices // 1_000)
        curve[f"{devices:.0e}"] = in_process("sync", devices, fogs, max(10, devices // 100), min(rounds, 10))
    result = {
        "seconds": max(run["seconds"] for run in full.values()),
        "peak_gb": max(run["peak_gb"] for run in full.values()),
        **full,
        "curve": curve,
    }
    report("fleet", result, keep=not options.quick)


if __name__ == "__main__":
    main()
