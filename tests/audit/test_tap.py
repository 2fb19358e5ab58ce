"""What is tapped is what nodes get: after stages, sums and masks."""

from __future__ import annotations

import numpy as np
import pytest

from fogline import Tier, Tree
from fogline.audit import View, twins
from fogline.audit.tap import MODEL
from fogline.jobs import Privacy
from tests.audit.scenes import CLIENTS, scene

FOGS = Tree(cloud=Tier(), fog=Tier(count=2))


def seen(tree: Tree, place: str, examples: int | None = None, **changes: object) -> list[View]:
    with scene(tree, **changes).opened() as opened:
        return opened.trial(examples).at(place, 0)


def mean(views: list[View]) -> np.ndarray:
    return np.average([view.movement for view in views], axis=0, weights=[view.weight for view in views])


@pytest.mark.parametrize("exact", [False, True])
def test_a_fog_sees_every_update_and_the_cloud_sums_of_them(exact: bool) -> None:
    with scene(FOGS, exact=exact).opened() as opened:
        trial = opened.trial(4)
    assert trial.places() == ["fog", "cloud", MODEL]
    single, sums, (models,) = (trial.at(place, 0) for place in trial.places())
    assert [len(view.members) for view in single] == [1] * CLIENTS
    assert [len(view.members) for view in sums] == [CLIENTS // 2] * 2
    assert sorted(m.client for view in sums for m in view.members) == list(range(CLIENTS))
    assert len(models.members) == CLIENTS
    for view in sums:
        clients = {member.client for member in view.members}
        assert view.movement == pytest.approx(mean([v for v in single if v.members[0].client in clients]), abs=1e-6)
        assert view.weight == 4 * len(clients)
    assert models.movement == pytest.approx(mean(single), abs=1e-6)


def test_what_is_seen_has_gone_through_the_stages() -> None:
    plain = seen(Tree(cloud=Tier()), "cloud")
    clipped = seen(Tree(cloud=Tier(uplink=("clip(norm=0.01)",))), "cloud")
    assert min(np.linalg.norm(view.movement) for view in plain) > 0.02
    assert [np.linalg.norm(view.movement) for view in clipped] == pytest.approx([0.01] * CLIENTS, rel=1e-5)


@pytest.mark.parametrize("tree", [Tree(cloud=Tier()), FOGS], ids=["star", "fogs"])
def test_a_movement_over_a_clip_that_adapts_is_seen_as_long_as_it_is(tree: Tree) -> None:
    for place in tree.names:
        fixed, adapts = (
            seen(tree, place, privacy=Privacy(clip=0.01, noise=0.1, quantile=quantile)) for quantile in (None, 0.5)
        )
        for one, other in zip(fixed, adapts, strict=True):
            assert other.movement == pytest.approx(one.movement, abs=1e-7)


def test_under_secure_aggregation_nobody_sees_a_single_update() -> None:
    (total,) = seen(Tree(cloud=Tier(exchange="secagg")), "cloud")
    plain = seen(Tree(cloud=Tier()), "cloud")
    assert len(total.members) == CLIENTS
    assert total.movement == pytest.approx(mean(plain), abs=1e-4)  # Sums are of whole numbers.


def test_rounds_of_later_begin_with_the_model_that_went_down() -> None:
    with scene().opened() as opened:
        trial = opened.trial(None)
    first, second = trial.at(MODEL)[:2]
    assert second.members[0].start[: first.movement.size] == pytest.approx(
        first.members[0].start[: first.movement.size] + first.movement, abs=1e-6
    )
    assert len(trial.at("cloud")) == 3 * CLIENTS


def test_a_draw_changes_all_that_is_random_but_the_first_model() -> None:
    with scene().opened() as opened:
        one, other = (opened.observe(twins.first(opened.data, None), 1, draw).at("cloud")[0] for draw in (0, 1))
    assert np.array_equal(one.members[0].start, other.members[0].start)
    assert not np.allclose(one.movement, other.movement, atol=1e-5)
