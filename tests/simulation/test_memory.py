"""A long run takes no more memory than a short one, and leaves none behind."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest

import fogline
from fogline.jobs import Tier, Tree
from fogline.simulation.recorder import Recorder
from tests.simulation.test_exactness import UNEQUAL, run_toy
from tests.toy import ToyTask


@pytest.mark.slow
@pytest.mark.parametrize(
    "tree",
    [
        Tree(cloud=Tier(deadline=60), fog=Tier(count=3, cohort=0.5, over_selection=1.3, deadline=20)),
        Tree(cloud=Tier(mode="async", cohort=6, buffer=3, deadline=60)),
    ],
    ids=["sync", "async"],
)
def test_memory_stays_flat_over_hundreds_of_rounds(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[int, int] = {}
    moved = Recorder.moved

    def measured(self: Recorder, move: object, group: object) -> None:
        moved(self, move, group)  # type: ignore[arg-type]
        rounds = len(self.history)
        if rounds % 100 == 0:
            self.history = []  # One row a round is meant to stay; it is not what is measured.
            gc.collect()
            sizes[rounds] = tracemalloc.get_traced_memory()[0]
            self.history = [{"round": i, "accuracy": 0.0} for i in range(rounds)]

    monkeypatch.setattr(Recorder, "moved", measured)
    tracemalloc.start()
    try:
        run_toy(tree, rounds=500, devices=UNEQUAL, evaluation={"every": 500})
    finally:
        tracemalloc.stop()
    assert max(sizes) >= 400
    assert sizes[max(sizes)] < sizes[100] + 110_000, sizes  # Less than 300 bytes a round.


@pytest.mark.parametrize("rule", ["mean", "median"])
def test_a_program_that_runs_many_keeps_the_data_of_none(rule: str) -> None:
    task = ToyTask()
    kept = weakref.ref(task.data)
    fogline.simulate(task, "fedavg", rounds=2, tree=Tree(cloud=Tier(rule=rule)), progress=False, processes=0)
    del task
    gc.collect()
    assert kept() is None
