"""Models that go down as differences, on the virtual clock: what goes is charged, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fogline
from benchmarks.network.synthetic import task as numbers
from fogline import JobError, Tier, Tree
from fogline.monitoring.folder import RunFolder
from fogline.nodes import Device
from fogline.simulation.fleet.counters import Traffic
from fogline.simulation.fleet.delivery import Delivery
from fogline.simulation.fleet.scenario import LinkSizes, Sizes
from fogline.simulation.fleet.seats import Seat
from fogline.simulation.profiles import Link
from fogline.stages import pipeline
from fogline.stages.delta import Delta
from tests.toy import ToyTask

SIZE = 100_000
WHOLE = 4 * SIZE
ROUNDS = 7
DOWN = ("delta(every=5)", "int8")


def simulate(task: Any = None, rounds: int = ROUNDS, **settings: Any) -> fogline.Result:
    return fogline.simulate(task or ToyTask(), rounds=rounds, processes=0, progress=False, **settings)


def models(row: dict[str, float], tier: str, messages: int) -> float:
    """Bytes of models, without receipts."""
    return row[f"down/{tier}"] - 128 * messages


def bytes_of(whole: int, differences: int) -> Any:
    return pytest.approx(whole * WHOLE + differences * (SIZE + 4 * SIZE // 256), rel=0.002)


def test_the_first_version_and_every_fifth_go_whole_and_the_others_as_differences() -> None:
    row = simulate(numbers(SIZE, 3), tree=Tree(cloud=Tier(downlink=DOWN))).history[-1]
    assert models(row, "cloud", 3 * ROUNDS) == bytes_of(3 * 2, 3 * 5)


def test_a_fog_fetches_once_what_its_devices_lack() -> None:
    tree = Tree(cloud=Tier(downlink=DOWN), fog=Tier(count=2))
    row = simulate(numbers(SIZE, 6), tree=tree).history[-1]
    assert models(row, "cloud", 2 * ROUNDS) == bytes_of(2 * 2, 2 * 5)
    assert models(row, "fog", 6 * ROUNDS) == bytes_of(6 * 2, 6 * 5)


SIZES = Sizes(down=1000, update=0, partial=0, staged={tier: LinkSizes(1000, 0, 300, 100) for tier in ("cloud", "fog")})


def seat(name: str, parent: Seat | None = None, tier: str = "", hands_on: bool = False) -> Seat:
    return Seat(name, Device(name, ""), 0 if tier == "" else -1, 0, parent, tier=tier, hands_on=hands_on)


def loads(delivery: Delivery, parent: Seat, child: Seat, *versions: int) -> list[int]:
    """Bytes that go along with a request for each of these versions."""
    return [delivery.load(parent, child, f"cloud@{version}", 1000, 0.0).size for version in versions]


def test_who_was_not_asked_takes_what_it_missed_or_the_whole_if_that_is_less() -> None:
    delivery = Delivery(SIZES, Traffic(), Link(0.0, 0.0, 0.0))
    cloud, device = seat("cloud", tier="cloud"), seat("d")
    # New; the next; two missed; too many; the same again; one that goes whole; the next.
    assert loads(delivery, cloud, device, 7, 8, 11, 15, 15, 100, 101) == [1000, 300, 900, 1000, 128, 1000, 300]


def test_a_fog_fetches_once_and_only_what_somebody_below_lacks() -> None:
    traffic = Traffic()
    delivery = Delivery(SIZES, traffic, Link(1e-3, 1e-3, 0.5))
    cloud = seat("cloud", tier="cloud")
    fog = seat("fog", cloud, "fog", hands_on=True)
    one, two = seat("one"), seat("two")
    assert loads(delivery, cloud, fog, 1) == [300]
    assert loads(delivery, fog, one, 1) == [1000]  # The device has nothing to add the difference to.
    assert traffic.down["cloud"] == 1000
    assert loads(delivery, fog, two, 1) == [1000]
    assert traffic.down["cloud"] == 1000
    for version in (2, 3):
        assert loads(delivery, cloud, fog, version) == [300]
        assert loads(delivery, fog, one, version) == [300]
    assert loads(delivery, fog, two, 3) == [600]
    assert traffic.down["cloud"] == 1000
    assert loads(delivery, cloud, fog, 5) == [300]
    load = delivery.load(fog, two, "cloud@5", 1000, 10.0)
    assert (load.size, load.begins) == (600, 10.0 + 0.5 + 0.3)  # The fog was not asked with version 4.
    assert traffic.down["cloud"] == 1300


def test_a_difference_is_of_no_use_before_what_it_is_added_to() -> None:
    delivery = Delivery(SIZES, Traffic(), Link(0.0, 0.0, 0.0))
    cloud, device = seat("cloud", tier="cloud"), seat("d")
    loads(delivery, cloud, device, 3)
    delivery.arrives(device, 9.0)
    assert delivery.load(cloud, device, "cloud@4", 1000, 1.0).earliest == 9.0
    assert delivery.load(cloud, device, "cloud@50", 1000, 2.0).earliest == 0.0


@pytest.mark.parametrize("mode", ["sync", "async", "semi-async", "ring"])
@pytest.mark.parametrize("fog", [{}, {"rounds": 2, "downlink": ("delta(every=3)", "int4")}])
def test_in_every_mode_and_over_fogs_with_models_of_their_own(mode: Any, fog: dict[str, Any]) -> None:
    if mode != "sync":  # Then a fog has a model of its own.
        fog = {"downlink": ("delta(every=3)", "int4")} | fog

    def run(**cloud: Any) -> fogline.Result:
        tree = Tree(cloud=Tier(**cloud), fog=Tier(count=2, mode=mode, **(fog if cloud else fog | {"downlink": ()})))
        return simulate(rounds=3, tree=tree, seed=3)

    coded, whole = run(downlink=DOWN), run()
    assert not np.array_equal(coded.params.vector, whole.params.vector)
    np.testing.assert_allclose(coded.params.vector, whole.params.vector, atol=0.5)


def test_a_resumed_run_goes_on_with_what_children_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"rounds": 13, "tree": Tree(cloud=Tier(downlink=("delta", "int4")))}
    append = RunFolder.append

    def appended(self: RunFolder, row: dict[str, float]) -> None:
        append(self, row)
        if row["round"] == 12:  # The checkpoint is that of the tenth.
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "append", appended)
        with pytest.raises(KeyboardInterrupt):
            simulate(folder=tmp_path / "run", **settings)
    straight, resumed = simulate(**settings), simulate(folder=tmp_path / "run", resume=True, **settings)
    assert np.array_equal(resumed.params.vector, straight.params.vector)
    assert resumed.history[-1]["down/cloud"] == straight.history[-1]["down/cloud"]


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (Tree(cloud=Tier(downlink=["delta"])), "alone it makes nothing smaller"),
        (Tree(cloud=Tier(uplink=["delta", "int8"])), "what goes up is no model that the parent holds"),
        (Tree(cloud=Tier(), fog=Tier(count=2, downlink=["delta", "int8"])), "fog has no model of its own"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_run(tree: Tree, sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        simulate(tree=tree)


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        (("delta", "stc"), "keeps something from one message to the next"),
        (("int8", "delta"), "stands after 'int8'"),
        (("delta", "delta", "int8"), "put it first, once"),
        (("delta", "qsgd(levels=1)"), "could grow without end"),
        (("delta(every=0)", "int8"), "every"),
    ],
)
def test_a_difference_stands_first_and_before_a_code_that_it_can_make_up_for(
    stages: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        pipeline(stages)
    assert isinstance(pipeline(("delta", "int8")).delta, Delta)
