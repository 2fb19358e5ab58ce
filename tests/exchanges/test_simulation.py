"""An exchange on the virtual clock: the model is the one without it, and it costs time and bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fogline import Tier, Tree, simulate
from fogline.monitoring.result import Result
from tests.exchanges.commit_reveal import CommitReveal
from tests.toy import ToyTask, toy_data


def run(tree: Tree, **more: Any) -> Result:
    return simulate(ToyTask(toy_data(8)), tree=tree, rounds=3, progress=False, processes=0, **more)


def star(exchange: CommitReveal | None = None, **tier: Any) -> Tree:
    return Tree(cloud=Tier(**tier) if exchange is None else Tier(exchange=exchange, **tier))


def test_who_keeps_its_word_counts_as_without_an_exchange() -> None:
    with_it, without = run(star(CommitReveal())), run(star())
    assert np.array_equal(with_it.params.vector, without.params.vector)
    assert [row["devices"] for row in with_it.history] == [8.0] * 3
    assert with_it.history[-1]["seconds"] > without.history[-1]["seconds"]
    # A commitment (32 bytes) goes up, an empty answer comes down, and the seed goes along with what is revealed.
    up, plain = (result.history[-1]["up/cloud"] for result in (with_it, without))
    assert plain < up < plain + 3 * 8 * 200


def test_a_tree_gives_what_a_star_gives() -> None:
    tree = Tree(cloud=Tier(), fog=Tier(count=2, exchange=CommitReveal()))
    plain = Tree(cloud=Tier(), fog=Tier(count=2))
    assert np.array_equal(run(tree).params.vector, run(plain).params.vector)


@pytest.mark.parametrize("bad", ["liar", "quitter"])
def test_who_breaks_its_word_does_not_count(bad: str) -> None:
    result = run(star(CommitReveal(**{bad: "client-2"})))
    assert [row["devices"] for row in result.history] == [7.0] * 3
    assert result.counts["failed"] == 3
    assert np.abs(result.params.vector).max() < 10
