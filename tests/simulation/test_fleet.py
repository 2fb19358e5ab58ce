"""What the clock leaves out, or does together, changes nothing that a run shows."""

from __future__ import annotations

import pytest

from fogline.jobs import Job, Method, Tier, Tree
from fogline.simulation import begun_training
from fogline.simulation import run as running
from fogline.simulation.fleet.scenario import Sizes
from fogline.simulation.fleet.seats import Seat
from fogline.simulation.run import run
from fogline.simulation.simulator import Simulator
from tests.toy import ToyTask, toy_data

TREES = {
    "sync": Tree(cloud=Tier(), fog=Tier(count=3)),
    "late": Tree(cloud=Tier(), fog=Tier(count=3, cohort=4, over_selection=1.5, late="fold")),
    "async": Tree(cloud=Tier(mode="async", buffer=2), fog=Tier(count=3, mode="async", cohort=4, buffer=3)),
}
PHONES = {"preset": "phones", "dropout": 0.1}


def history(tree: Tree, algorithm: str = "fedavg") -> tuple[bytes, str]:
    job = Job.model_validate(
        {"tree": tree, "rounds": 6, "processes": 0, "engine": "loop", "devices": PHONES}
        | {"algorithm": Method(name=algorithm)}
    )
    result = run(job, ToyTask(toy_data(clients=24, size=12)), progress=False)
    return result.params.vector.tobytes(), repr([{**row, "wall": 0} for row in result.history])


@pytest.mark.parametrize("shape", TREES)
def test_a_receipt_that_is_no_event_changes_nothing(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = "fedbuff" if shape == "async" else "fedavg"
    # As large as most models: a request is not smaller than a receipt.
    monkeypatch.setattr(running, "probe", lambda _: Sizes(1000, 1000, 1000))
    receipts: list[bool] = []
    settles = Simulator._settles

    def noted(self: Simulator, seat: Seat, task: int) -> bool:
        receipts.append(settles(self, seat, task))
        return receipts[-1]

    monkeypatch.setattr(Simulator, "_settles", noted)
    without = history(TREES[shape], algorithm)
    monkeypatch.setattr(Simulator, "_settles", lambda *_: False)
    assert history(TREES[shape], algorithm) == without
    assert any(receipts)


@pytest.mark.parametrize("shape", TREES)
def test_how_much_is_computed_ahead_changes_no_bit_of_the_model(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = "fedbuff" if shape == "async" else "fedavg"
    much, _ = history(TREES[shape], algorithm)
    monkeypatch.setattr(begun_training, "AHEAD", 1)
    little, _ = history(TREES[shape], algorithm)
    assert little == much
