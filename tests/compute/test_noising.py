"""Noise on sums of what units give: as wide as it says, once for each sum, whatever a device sends.

The audit is an adversary: it knows all devices but one, and asks how well a model with that one can be told from a
model without. Of Gaussian noise z times the clip it must find 1 / z, whatever the device does; more breaks the promise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fogline.aggregation import Partial, Update
from fogline.aggregation.rules import make_rule
from fogline.algorithms import group as group_models
from fogline.algorithms import make
from fogline.algorithms.base import AggregatorContext
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.files import read_group, write
from fogline.compute.groups import Groups
from fogline.compute.privacy.contributions import ContributionError, Contributions
from fogline.compute.privacy.privacy_part import part_of, units_of
from fogline.jobs import Job, Privacy, Tier, Tree
from fogline.jobs.protection.protection import Protection, protection_of
from fogline.nodes.effects import FoldInput, Move
from fogline.params import Entry, Params, Spec, Vector
from fogline.privacy.noise.gaussian import rounded_gaussian
from fogline.privacy.noise.source import Source
from tests.compute.asking import ask, path

SIZE, OTHERS, CLIP, NOISE = 2000, 4, 0.5, 2.0
SPEC = Spec.of([Entry("w", (SIZE,), "float32")])
KEY = bytes(32)


def protection(privacy: Privacy, tree: Tree | None = None) -> Protection:
    made = protection_of(Job(tree=tree or Tree(), privacy=privacy))
    assert made is not None
    return made


def updates(count: int, seed: int = 0, size: float = 1.0) -> list[Update]:
    rng = np.random.default_rng(seed)
    vectors = [(rng.normal(size=SIZE) * size).astype(np.float32) for _ in range(count)]
    return [Update({"delta": vector}, {"delta": 100.0}) for vector in vectors]


CANARY = Update({"delta": np.full(SIZE, 1e3, np.float32)}, {"delta": 1e6})
"""A device that shouts."""


class Cloud:
    """The root of a star, from updates of devices to a model. ``counted``: how often each counts."""

    def __init__(self, privacy: Privacy, key: bytes = KEY, counted: Callable[[Update], int] = lambda _: 1) -> None:
        made = protection(privacy)
        units = units_of(made, "delta")
        assert units is not None
        self.units, self.counted = units, counted
        self.groups = Groups(make("fedavg"), SPEC, make_rule("exact"), part_of(made, "delta", 0, lambda: key))
        self.group = self.groups.begun(group_models.root(Params.zeros(SPEC)))

    def round(self, reported: list[Update], population: int = OTHERS + 1) -> np.ndarray:
        """How far the model moves."""
        fold, down = self.groups.fold(), self.groups.send_down(self.group)
        given = [self.units.of(one, down.clip, KEY) for one in reported]
        many = [one for one, of in zip(given, reported, strict=True) for _ in range(self.counted(of))]
        fold.take(range(len(many)), [(one, 1.0) for one in many])
        partial, refused = fold.close(merge=self.groups.noises)
        assert not refused
        before = self.group.vector
        self.group = self.groups.move(self.group, partial, AggregatorContext(population, 0), inside=False)
        return self.group.vector - before


def told_apart(noise: float = NOISE, counted: Callable[[Update], int] = lambda _: 1) -> float:
    """How well the adversary tells a model with the canary from one without: the difference of the two over the noise,
    along the direction that the canary shouts in. It sees many rounds, so that it knows the noise well."""
    privacy, others, shout = Privacy(clip=CLIP, noise=noise), updates(OTHERS), np.ones(SIZE) / np.sqrt(SIZE)
    seen: list[tuple[float, float]] = []
    for round_ in range(300):
        clouds = [Cloud(privacy, bytes([round_ % 256, round_ // 256, with_it, 0] * 8), counted) for with_it in (0, 1)]
        without, with_it = clouds[0].round(others), clouds[1].round([*others, CANARY])
        seen.append((float(without @ shout), float(with_it @ shout)))
    apart = np.array(seen)
    return float((apart[:, 1].mean() - apart[:, 0].mean()) / apart.std(axis=0, ddof=1).mean())


MARGIN = 0.3
"""By how much 300 rounds may mislead the adversary: three and a half times the deviation of what it finds."""


def test_nobody_tells_a_device_from_none_better_than_the_noise_allows() -> None:
    assert told_apart() == pytest.approx(1.0 / NOISE, abs=MARGIN)


def test_the_adversary_finds_noise_of_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    def quarter(deviation: float, count: int, source: Source) -> npt.NDArray[np.int64]:
        return rounded_gaussian(deviation / 4, count, source)

    monkeypatch.setattr("fogline.privacy.mechanisms.gaussian.rounded_gaussian", quarter)
    assert told_apart() > 1.0 / NOISE + MARGIN


def test_the_adversary_finds_a_clip_that_was_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_it_is(vector: Vector, *_: float) -> Vector:
        return vector

    def no_fault(_: Contributions, update: Update) -> None:
        """The aggregator would refuse all of them."""

    monkeypatch.setattr("fogline.compute.privacy.contributions.bounded_on_grid", as_it_is)
    monkeypatch.setattr(Contributions, "fault", no_fault)
    assert told_apart() > 100.0


def test_the_adversary_finds_a_device_that_counts_more_than_once() -> None:
    assert told_apart(counted=lambda update: 1 + 3 * (update is CANARY)) > 1.0 / NOISE + MARGIN


def test_noise_is_as_wide_as_the_job_says() -> None:
    moved = Cloud(Privacy(clip=CLIP, noise=NOISE)).round(updates(OTHERS, size=1e-6))
    assert moved.std() == pytest.approx(NOISE * CLIP / (OTHERS + 1), rel=0.05)
    assert Cloud(Privacy(clip=CLIP, noise=NOISE / 2)).round(updates(OTHERS, size=1e-6)).std() < 0.6 * moved.std()


def test_the_mean_is_over_those_who_were_expected() -> None:
    update = updates(1, size=1e-3)
    moved = Cloud(Privacy(clip=CLIP, noise=0.0)).round(update, population=10)
    assert np.allclose(moved, update[0].vectors["delta"] / 10, atol=1e-8)
    again = Cloud(Privacy(clip=CLIP, noise=0.0))
    again.round(update, population=10)
    assert np.allclose(again.round(update, population=0), moved, atol=1e-8)  # After a restart nobody is there yet.


def test_one_sum_has_one_noise_and_another_sum_another() -> None:
    privacy, some = Privacy(clip=CLIP, noise=NOISE), updates(3, size=1e-3)
    one, again = (Cloud(privacy).round(some) for _ in range(2))
    other = Cloud(privacy).round(some[:2])
    assert np.array_equal(one, again)
    left = (one - other) * (OTHERS + 1) - some[2].vectors["delta"]
    assert left.std() == pytest.approx(2**0.5 * NOISE * CLIP, rel=0.05)  # No difference of the two is without noise.
    wider = Cloud(Privacy(clip=CLIP, noise=1.5 * NOISE)).round(some)
    assert abs(np.corrcoef(one, wider)[0, 1]) < 0.1  # Else the two would give the sum away.
    cloud = Cloud(privacy)
    first, second = cloud.round(some), cloud.round(some)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_a_model_is_on_the_grid_of_the_sum() -> None:
    moved = Cloud(Privacy(clip=CLIP, noise=NOISE)).round(updates(1), population=1).astype(np.float64) * 2.0**30
    assert np.array_equal(moved, np.rint(moved))


def test_a_clip_follows_the_norms_and_comes_down_with_the_model() -> None:
    cloud, norms = Cloud(Privacy(clip=10.0, noise=0.5, quantile=0.5)), np.linspace(0.1, 2.0, 40)
    some = updates(len(norms))
    for update, norm in zip(some, norms, strict=True):
        update.vectors["delta"] *= np.float32(norm / np.linalg.norm(update.vectors["delta"]))
    for _ in range(60):
        cloud.round(some, population=len(norms))
    clip = cloud.groups.send_down(cloud.group).clip
    assert clip is not None
    assert 0.6 < clip < 1.6
    assert group_models.Down.from_arrays(cloud.groups.send_down(cloud.group).to_arrays()).clip == clip


def test_local_noise_is_on_every_update() -> None:
    privacy = Privacy(clip=CLIP, noise=NOISE, at="devices")
    units = units_of(protection(privacy), "delta")
    assert units is not None
    given = units.of(updates(1, size=1e-6)[0], None, KEY)
    assert given.vectors["delta"].std() == pytest.approx(NOISE * CLIP, rel=0.05)
    assert given.weights == {"delta": 1.0}
    assert not part_of(protection(privacy), "delta", 0)


@pytest.mark.parametrize(
    ("update", "why"),
    [
        (Update({"delta": np.ones(3, np.float32), "tau": np.ones(1, np.float32)}, {}), "reports 'tau' beside"),
        (Update({"model": np.ones(3, np.float32)}, {}), "reports 'model' beside"),
        (Update({"delta": np.ones(3, np.float32)}, {}, np.ones(1, np.int64)), "reports integer counters beside"),
        (Update({"delta": np.full(3, np.nan, np.float32)}, {}), "'delta' is not finite"),
        (Update({}, {}), "reports no 'delta'"),
    ],
)
def test_what_the_clip_does_not_hold_is_not_given(update: Update, why: str) -> None:
    units = units_of(protection(Privacy()), "delta")
    assert units is not None
    with pytest.raises(ContributionError, match=why):
        units.of(update, None, KEY)
    with pytest.raises(ContributionError, match="must be above 0 and finite"):
        units.of(updates(1)[0], float("nan"), KEY)


def moved_on_files(folder: Path, sent: Sequence[Update | Partial]) -> tuple[np.ndarray, dict[int, str]]:
    """The model of a real node after a round with what came, and which updates it refused."""
    groups = Groups(make("fedavg"), SPEC, make_rule("exact"), part_of(protection(Privacy(noise=1.0)), "delta", 0))
    runner = GroupsOnFiles(groups, False)
    if not Path(path(folder, "m0/group")).exists():
        runner.begin(group_models.root(Params.zeros(SPEC)), path(folder, "m0/group"), path(folder, "m0"), "m0")
    for place, update in enumerate(sent):
        write(path(folder, f"u{place}"), update)
    members = tuple(FoldInput(f"u{place}", 0, f"d{place}") for place in range(len(sent)))
    done = ask(runner, Move("m0", "m1", members, inside=False, round=0, final=True), folder, population=len(sent))
    return read_group(path(folder, "m1/group")).vector.copy(), dict(done.refused)


def test_a_node_that_computes_a_round_again_makes_the_same_noise(tmp_path: Path) -> None:
    units = units_of(protection(Privacy()), "delta")
    assert units is not None
    given = [units.of(update, None, KEY) for update in updates(3)]
    one, _ = moved_on_files(tmp_path, given)
    again, _ = moved_on_files(tmp_path, given)
    fewer, _ = moved_on_files(tmp_path, given[:2])
    assert np.array_equal(one, again)
    assert not np.array_equal(one, fewer)
    (tmp_path / "other").mkdir()
    assert not np.array_equal(one, moved_on_files(tmp_path / "other", given)[0])  # Each node has a secret of its own.


def tree_of_noise(folder: Path, noise: float, dies: Callable[[int], bool] = lambda _: False) -> tuple[Vector, set[str]]:
    """The model of a real node after six rounds of DP-FTRL, and what it keeps of the tree.

    Args:
        folder: of its files.
        noise: over the clip.
        dies: in which rounds it is killed after it has computed them, and before its journal says so.
    """
    folder.mkdir()
    made = protection(Privacy(clip=CLIP, noise=noise, mechanism="ftrl"), Tree(cloud=Tier(policy="rotation")))
    runner = GroupsOnFiles(
        Groups(make("fedavg"), SPEC, make_rule("exact"), part_of(made, "delta", 0, lambda: KEY)), False
    )
    runner.begin(group_models.root(Params.zeros(SPEC)), path(folder, "m0/group"), path(folder, "m0"), "m0")
    units = units_of(made, "delta")
    assert units is not None
    for round_ in range(6):
        for place, update in enumerate(updates(2, seed=round_)):
            write(path(folder, f"u{place}"), units.of(update, None, KEY))
        members = tuple(FoldInput(f"u{place}", 0, f"d{place}") for place in range(2))
        move = Move(f"m{round_}", f"m{round_ + 1}", members, inside=False, round=round_, final=True)
        if dies(round_):
            ask(runner, move, folder, population=2)
            for lost in (f"m{round_ + 1}", f"m{round_ + 1}/group"):
                Path(path(folder, lost)).unlink()
        ask(runner, move, folder, population=2)
    group = read_group(path(folder, "m6/group"))
    assert group.noise is not None
    return group.vector.copy(), {*group.noise.own}


def test_a_node_that_is_killed_again_and_again_goes_on_in_the_tree_of_one_that_never_was(tmp_path: Path) -> None:
    whole, nodes = tree_of_noise(tmp_path / "whole", 1.0)
    killed, others = tree_of_noise(tmp_path / "killed", 1.0, lambda round_: round_ in (1, 3, 5))
    assert np.array_equal(whole, killed)
    assert nodes == others
    clean, _ = tree_of_noise(tmp_path / "clean", 0.0)
    # Of six rounds: a node over four at its best mean with what is below it, and one over two.
    assert len(nodes) == 1 + 2
    assert (whole - clean).std() == pytest.approx(CLIP * (4 / 7 + 2 / 3) ** 0.5 / 2, rel=0.05)


def test_a_node_refuses_what_no_unit_gives(tmp_path: Path) -> None:
    units = units_of(protection(Privacy()), "delta")
    assert units is not None
    good = units.of(updates(1)[0], None, KEY)
    heavy = Update(good.vectors, {"delta": 50.0})
    more = Update(good.vectors | {"loss": np.ones(1, np.float32)}, {"delta": 1.0, "loss": 1.0})
    _, refused = moved_on_files(tmp_path, [good, updates(1)[0], heavy, more, CANARY])
    assert [*refused] == [1, 2, 3, 4]
    long = Update(CANARY.vectors, {"delta": 1.0})
    fold = make_rule("exact").fold()
    fold.add(long)
    _, refused = moved_on_files(tmp_path, [good, long, fold.partial()])
    assert "longer than the clip" in refused[1]
    assert "a sum of several updates" in refused[2]


def test_one_device_cannot_lead_the_clip_away() -> None:
    units = units_of(protection(Privacy(quantile=0.5)), "delta")
    assert units is not None
    good = units.of(updates(1)[0], None, KEY)
    assert units.fault(good) is None
    for said in ([1e6], [0.5, 0.5], [0.0], [np.nan]):
        lie = Update(good.vectors | {"within": np.array(said, np.float32)}, good.weights)
        assert "neither 0.5 nor -0.5" in (units.fault(lie) or "")


def test_who_is_longer_than_a_clip_that_adapts_is_refused_whatever_it_has_come_to() -> None:
    cloud = Cloud(Privacy(clip=3.0, noise=0.5, quantile=0.5))
    given = [cloud.units.of(update, 0.25, KEY) for update in updates(2)]
    longest = float(np.linalg.norm(given[0].vectors["delta"]))
    assert 0.99999 < longest <= 1.0  # Over the clip that came with the model, so that nobody need know it.
    assert [cloud.units.fault(update) for update in given] == [None, None]
    for factor in (-1000.0, 1.001):
        lie = Update(given[0].vectors | {"delta": given[0].vectors["delta"] * np.float32(factor)}, given[0].weights)
        assert "longer than the clip of its round" in (cloud.units.fault(lie) or "")


def test_a_clip_that_adapts_bounds_what_the_model_moves() -> None:
    """Over the clip, and back: the sum is that of clipped movements, with the noise that they need."""
    cloud, some = Cloud(Privacy(clip=CLIP, noise=0.2, quantile=0.5)), updates(40)
    moved = cloud.round(some, population=40)
    clipped = sum(u.vectors["delta"] * (CLIP / np.linalg.norm(u.vectors["delta"])) for u in some) / 40
    assert (moved - clipped).std() == pytest.approx(0.2 * CLIP / 40, rel=0.1)


def test_a_simulation_refuses_what_a_node_refuses() -> None:
    cloud = Cloud(Privacy())
    good, fold = cloud.units.of(updates(1)[0], None, KEY), cloud.groups.fold()
    fold.take((0, 1), [(good, 1.0), (Update(CANARY.vectors, {"delta": 1.0}), 1.0)])
    partial, refused = fold.close(merge=True)
    assert partial is not None
    assert partial.count == 1
    assert "longer than the clip" in refused[1]


def test_a_site_s_noise_comes_from_another_key_once_it_was_given() -> None:
    """Who takes the node's disk later can make no noise of rounds before, and so try no guess at what was below it."""
    made = protection(Privacy(unit="site", at="fog", clip=CLIP, noise=NOISE), Tree(cloud=Tier(), fog=Tier(count=2)))
    fog = Groups(make("fedavg"), SPEC, make_rule("mean"), part_of(made, "delta", 1))
    down = group_models.Down(np.zeros(SIZE, np.float32), np.zeros(0, np.int64))
    first = fog.adopt(None, down)
    given, again = (fog.group_update(first).vectors["delta"] for _ in range(2))
    after = fog.adopt(first, down)
    assert np.array_equal(given, again)  # After a crash.
    assert not np.array_equal(given, fog.group_update(after).vectors["delta"])
    assert abs(np.corrcoef(given, fog.group_update(after).vectors["delta"])[0, 1]) < 0.1


def test_a_site_is_one_unit_whatever_its_devices_do() -> None:
    made = protection(Privacy(unit="site", clip=CLIP, noise=0.0), Tree(cloud=Tier(), fog=Tier(count=2)))
    fog = Groups(make("fedavg"), SPEC, make_rule("mean"), part_of(made, "delta", 1))
    group = fog.adopt(None, group_models.Down(np.zeros(SIZE, np.float32), np.zeros(0, np.int64)))
    fold = fog.fold()
    fold.take((0, 1), [(update, 1.0) for update in (CANARY, *updates(1))])
    folded, _ = fold.close(merge=fog.noises)
    sent = fog.group_update(fog.move(group, folded, AggregatorContext(2, 0), inside=True))
    assert np.linalg.norm(sent.vectors["delta"]) == pytest.approx(CLIP, rel=1e-4)
    assert np.linalg.norm(sent.vectors["delta"]) <= CLIP
    assert sent.weights == {"delta": 1.0}
    assert units_of(made, "delta") is None
    lost = fog.group_update(replace(group, vector=np.append(group.vector[1:], np.float32(np.inf))))
    assert np.isnan(lost.vectors["delta"]).all()  # Nothing of it is told.
