"""Attacks come through where nothing stands against them, and fail where something does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fogline import Tier, Tree
from fogline.audit import ATTACKS, AuditSettings, Finding
from tests.audit.scenes import NOISY, scene

OPEN = Tree(cloud=Tier())
MASKED = Tree(cloud=Tier(exchange="secagg"))
NOISED = Tree(cloud=Tier(uplink=("clip(norm=1.0)", NOISY)))


def found(attack: str, tree: Tree, examples: Sequence[int | None] = (None,), **settings: object) -> list[Finding]:
    with scene(tree, AuditSettings(examples=tuple(examples), **settings)).opened() as opened:  # type: ignore[arg-type]
        return list(ATTACKS[attack](opened))


def at_cloud(attack: str, tree: Tree, examples: Sequence[int | None] = (None,), **settings: object) -> Finding:
    return next(one for one in found(attack, tree, examples, **settings) if one.place == "cloud")


def test_labels_are_read() -> None:
    assert at_cloud("labels", OPEN, [1]).measures["right"] == 1.0
    assert at_cloud("labels", OPEN, [8]).measures["right"] > 0.9
    assert at_cloud("labels", NOISED, [1]).outcome == "holds"


def test_examples_are_divided_out_of_a_first_layer() -> None:
    one = at_cloud("first_layer", OPEN, [1])
    assert one.measures["recovered"] == 1
    assert one.rebuilt[0].original == pytest.approx(one.rebuilt[0].rebuilt, abs=1e-3)
    for tree, examples in ((MASKED, None), (NOISED, 1)):
        assert at_cloud("first_layer", tree, [examples]).measures["recovered"] == 0


@pytest.mark.parametrize("attack", ["dlg", "geiping"])
def test_examples_are_found_by_search(attack: str) -> None:
    assert at_cloud(attack, OPEN, [1]).outcome == "leaks"
    assert at_cloud(attack, NOISED, [1]).outcome == "holds"
    assert at_cloud(attack, MASKED, [None], iterations=30).outcome == "holds"
