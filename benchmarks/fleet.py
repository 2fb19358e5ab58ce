"""A million devices under a thousand fogs: what the nodes, the clock and the folds cost without training.

``python -m benchmarks.fleet`` runs 100 rounds of a cohort of 10,000, synchronous and as FedBuff, with local training
replaced by an update that is ready; and as many updates with 10,000 and 100,000 devices, with fogs and cohorts in
proportion. Every run is a process of its own, so that peak memory is its own. Keys of the last line:

- ``seconds``, ``peak_gb``: of the full fleet, the larger of the two modes;
- ``over_heap``: processor time of a run over that of its messages in a bare queue, where each of a cohort's devices has
  one message under way, and the next one is put into a ``heapq`` when it is taken out. In the same process, before and
  after the run; of the two modes, the larger;
- ``growth``: processor time of an update with a million devices over that with 10,000; of the two modes, the larger;
- ``sync``, ``fedbuff``: each mode's runs by number of devices.
"""

import argparse
import gc
import heapq
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.common import console, median, report
from fogline.aggregation import Update
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import GroupModel
from fogline.data import Examples, FederatedData, Partition, from_arrays
from fogline.jobs import Job, Method, Tier, Tree
from fogline.nodes.effects import Move
from fogline.params import Entry, Params, Spec
from fogline.simulation.fleet.scenario import Sizes
from fogline.simulation.setup import hello_of, setting_of, simulator_of
from fogline.simulation.simulator import Simulator
from fogline.simulation.values import LazyValue, Training
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Sums, Task

NUMBERS = 256
FULL = 1_000_000
SIZE = 1024
"""Bytes of every message, so that their bytes count them."""
LEGS = ("work", "report", "receipt")
"""Messages of an update."""
DELAY = 1e-3
"""Seconds that a message is under way in the bare queue."""
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


def bare(messages: int, cohort: int) -> float:
    """Processor time of a message in a queue and nothing else, in seconds."""
    queue: list[tuple[float, int, int, str]] = []
    serial, legs = cohort, len(LEGS)
    gc.disable()
    began = time.process_time()
    for device in range(cohort):
        heapq.heappush(queue, (DELAY, device, device, LEGS[0]))
    while queue:
        now, _, device, message = heapq.heappop(queue)
        if serial < messages:
            serial += 1
            heapq.heappush(queue, (now + DELAY, serial, device, LEGS[(LEGS.index(message) + 1) % legs]))
    seconds = time.process_time() - began
    gc.enable()
    return seconds / serial


def measure(mode: str, devices: int, fogs: int, cohort: int, rounds: int) -> dict[str, float]:
    """Seconds and peak memory of one run in this process."""
    messages = len(LEGS) * max(cohort, 30_000)
    heap = [bare(messages, cohort) for _ in range(3)]
    began = time.perf_counter()
    setting = setting_of(job_of(mode, fogs, cohort, rounds), Idle(devices))
    made: list[Simulator] = []
    updates = 0

    def moved(_: Move, group: LazyValue) -> None:
        made[0].force(group)
        state: GroupModel = group.result
        assert np.isfinite(state.vector).all()

    def trained(_: Training, __: LocalRound) -> None:
        nonlocal updates
        updates += 1

    simulator = simulator_of(setting, Ready(), Sizes(SIZE, SIZE, SIZE, SIZE), trained, moved)
    made.append(simulator)
    simulator.join(setting.job.tree.parents(), hello_of(setting, detailed=False))
    set_up, cpu = time.perf_counter() - began, time.process_time()
    simulator.run()
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    heap += [bare(messages, cohort) for _ in range(3)]
    passed = simulator.traffic.bytes // SIZE
    return {
        "seconds": round(seconds, 2),
        "set_up": round(set_up, 2),
        "peak_gb": round(peak, 3),
        "updates": updates,
        "messages_per_update": round(passed / updates, 2),
        "microseconds_per_update": round(cpu / updates * 1e6, 1),
        "heap_microseconds_per_update": round(median(heap) * passed / updates * 1e6, 2),
        "over_heap": round(cpu / (median(heap) * passed), 1),
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
    """Run fleets of three sizes in both modes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds; keeps no result")
    parser.add_argument("--one", nargs=5, metavar=("MODE", "DEVICES", "FOGS", "COHORT", "ROUNDS"))
    options = parser.parse_args()
    if options.one:
        mode, *numbers = options.one
        print(json.dumps(measure(mode, *(int(number) for number in numbers))))
        return
    updates = 100_000 if options.quick else 1_000_000
    modes: dict[str, dict[str, dict[str, float]]] = {"sync": {}, "fedbuff": {}}
    for devices in (10_000, 100_000, FULL):
        # The smaller fleets show the cost of an update in fewer of them.
        rounds = max(1, updates // (devices // 100) // (1 if devices == FULL else 5))
        for mode, runs in modes.items():
            runs[f"{devices:.0e}"] = in_process(mode, devices, devices // 1_000, devices // 100, rounds)
    full = [runs["1e+06"] for runs in modes.values()]
    result = {
        "seconds": max(run["seconds"] for run in full),
        "peak_gb": max(run["peak_gb"] for run in full),
        "over_heap": max(run["over_heap"] for run in full),
        "growth": max(
            round(runs["1e+06"]["microseconds_per_update"] / runs["1e+04"]["microseconds_per_update"], 2)
            for runs in modes.values()
        ),
        **modes,
    }
    report("fleet", result, keep=not options.quick)


if __name__ == "__main__":
    main()
