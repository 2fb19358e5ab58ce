"""Attacks come through where nothing stands against them, and fail where something does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fogline import Tier, Tree
from fogline.audit import ATTACKS, AuditSettings, Finding
from fogline.audit.tap import MODEL
from fogline.jobs.privacy import Privacy
from tests.audit.scenes import NOISY, scene

OPEN = Tree(cloud=Tier())
MASKED = Tree(cloud=Tier(exchange="secagg"))
NOISED = Tree(cloud=Tier(uplink=("clip(norm=1.0)", NOISY)))
FOGS = Tree(cloud=Tier(), fog=Tier(count=2))
LONG = {"learning_rate": 0.2, "batch_size": 10, "epochs": 5}


def by_place(
    attack: str, tree: Tree, examples: Sequence[int | None] = (None,), **changes: object
) -> dict[str, Finding]:
    """What the attack finds last in what each place sees; ``changes``: of the audit's settings, or of the job."""
    names = AuditSettings.__slots__
    settings = AuditSettings(examples=tuple(examples), **{k: v for k, v in changes.items() if k in names})  # type: ignore[arg-type]
    job = {key: value for key, value in changes.items() if key not in names}
    with scene(tree, settings, **job).opened() as opened:
        return {one.place: one for one in ATTACKS[attack](opened)}


def at_cloud(attack: str, tree: Tree, examples: Sequence[int | None] = (None,), **changes: object) -> Finding:
    return by_place(attack, tree, examples, **changes)["cloud"]


def test_labels_are_read() -> None:
    assert at_cloud("labels", OPEN, [1]).measures["right"] == 1.0
    assert at_cloud("labels", OPEN, [8]).measures["right"] > 0.9
    assert at_cloud("labels", NOISED, [8]).outcome == "holds"


def test_examples_are_divided_out_of_a_first_layer() -> None:
    one = at_cloud("first_layer", OPEN, [1])
    assert one.measures["recovered"] == 1
    assert one.rebuilt[0].original == pytest.approx(one.rebuilt[0].rebuilt, abs=1e-3)
    for tree, examples in ((MASKED, None), (NOISED, 1)):
        assert at_cloud("first_layer", tree, [examples]).outcome == "holds"


@pytest.mark.parametrize("attack", ["dlg", "geiping"])
def test_examples_are_found_by_search(attack: str) -> None:
    assert at_cloud(attack, OPEN, [2], iterations=100).measures["recovered"] == 2
    assert at_cloud(attack, NOISED, [1], iterations=60).outcome == "holds"
    assert at_cloud(attack, MASKED, [None], iterations=20).outcome == "holds"


def test_steps_of_a_round_are_followed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight passes over two examples: taken for one long step, they are not found."""

    def found() -> float:
        local = {"learning_rate": 0.1, "epochs": 8}
        return at_cloud("dlg", OPEN, [2], iterations=60, local=local).measures["recovered"]

    assert found() == 2
    monkeypatch.setattr("fogline.audit.inversion.MOST_STEPS", 0)
    assert found() == 0


def test_members_are_told_from_others() -> None:
    assert at_cloud("membership", OPEN, local=LONG, rounds=1).measures["auc"] > 0.6
    assert at_cloud("lira", OPEN, local=LONG, rounds=1, shadows=6).measures["auc"] > 0.7
    much = Tree(cloud=Tier(uplink=("clip(norm=1.0)", "tests.audit.scenes:Noise(std=1.0)")))
    assert at_cloud("lira", much, local=LONG, rounds=1, shadows=6).measures["auc"] < 0.6


def test_canaries_bound_epsilon_from_below() -> None:
    plain, masked, noised = (at_cloud("canary", tree, rounds=2).measures for tree in (OPEN, MASKED, NOISED))
    assert plain["epsilon"] > 1.5
    assert masked["epsilon"] < plain["epsilon"] / 2
    assert noised["epsilon"] < 0.3
    assert plain["most"] > plain["epsilon"]


def test_what_is_rebuilt_is_judged_by_what_is_known_without_it() -> None:
    with scene(OPEN, AuditSettings(examples=(1,))).opened() as opened:
        _, seen, view = next(opened.seen())
        known, original = opened.known(view, 1), seen.examples(view).array
    (same,) = known.compared(original, original)
    assert same.recovered
    assert (same.psnr, same.ssim) == (100.0, pytest.approx(1.0))
    for guess in (known.inputs.mean(0), known.inputs[np.argmin(np.square(known.inputs - original).sum((1, 2, 3)))]):
        (guessed,) = known.compared(original, guess[None])
        assert not guessed.recovered


def test_noise_of_devices_holds_everywhere() -> None:
    for one in by_place("first_layer", FOGS, [1], privacy=Privacy(at="devices", clip=0.5, noise=0.5)).values():
        assert one.outcome == "holds"


def test_noise_at_the_root_holds_for_the_models_and_not_below() -> None:
    found = by_place("first_layer", FOGS, [1], privacy=Privacy(clip=0.5, noise=1.0))
    assert found["fog"].outcome == found["cloud"].outcome == "leaks"
    assert found[MODEL].outcome == "holds"
