"""EF21: the stage at the devices and the method at the root, against the formula; and who may stand with whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quadratics import Quadratics

import fogline
from fogline import JobError, Tier, Tree
from fogline.aggregation import Folded
from fogline.algorithms import make
from fogline.algorithms.base import AggregatorContext
from fogline.stages import LinkContext
from fogline.stages import make as stage_of
from tests.toy import ToyTask

P = Quadratics.make()
N = len(P.b)
CODE = "ef21('top_k(share=0.3)')"
"""One number of three."""


def simulate(rounds: int = 4, algorithm: str = "ef21", code: str = "ef21('top_k(share=0.1)')", **more: Any) -> Any:
    more.setdefault("tree", Tree(cloud=Tier(uplink=[code])))
    return fogline.simulate(ToyTask(), rounds=rounds, algorithm=algorithm, processes=0, progress=False, **more)


@pytest.mark.parametrize("asked", [[0, 1, 2], [0, 2]], ids=["all", "some"])
def test_the_formula(asked: list[int]) -> None:
    method, stage = make("ef21"), stage_of(CODE)
    x, state, kept = np.zeros(3), dict[str, Any](), [dict[str, Any]() for _ in range(N)]
    mine, known = np.zeros(3), np.zeros((N, 3))
    for round_ in range(6):
        total = np.zeros(3)
        for i in asked:
            sent, kept[i] = stage.send({"delta": P.sgd(i, x) - x}, kept[i], LinkContext(round_))
            total += stage.receive(sent)["delta"]
        folded = Folded({"delta": total}, {"delta": float(len(asked))}, np.zeros(0, np.int64), len(asked))
        x, state = method.server_update(x, folded, state, AggregatorContext(N, round_))
        for i in asked:
            change = P.sgd(i, mine) - mine - known[i]
            largest = np.abs(change).argmax()
            known[i, largest] += change[largest]
        mine = mine + known.sum(axis=0) / N
        np.testing.assert_allclose(x, mine, atol=1e-12)
    assert np.abs(x).max() > 0.1


def test_it_comes_to_rest_where_all_bits_do() -> None:
    """A biased code without it, or feedback, stays away."""
    whole, alone = simulate(25, "fedavg", "fp16"), simulate(25, "fedavg", "top_k(share=0.1, feedback=false)")
    with_it = simulate(25)
    assert with_it.metrics["loss"] < 1.05 * whole.metrics["loss"]
    assert alone.metrics["loss"] > 1.05 * whole.metrics["loss"]


def test_over_fogs_that_merge_as_in_a_star() -> None:
    code = "ef21('top_k(share=0.1)')"
    tree = Tree(cloud=Tier(), fog=Tier(count=2, uplink=[code]))
    np.testing.assert_allclose(simulate(tree=tree).params.vector, simulate().params.vector, atol=1e-6)


@pytest.mark.usefixtures("unplotted")
@pytest.mark.parametrize("algorithm", ["ef21", "fetchsgd"])
def test_a_run_that_goes_on_has_both_states(algorithm: str, tmp_path: Path) -> None:
    tree = Tree(cloud=Tier(uplink=[CODE] if algorithm == "ef21" else []))
    whole = simulate(algorithm=algorithm, tree=tree, folder=tmp_path / "whole")
    for rounds in (2, 4):
        resumed = simulate(rounds, algorithm, tree=tree, folder=tmp_path / "some", resume=rounds == 4)
    assert np.array_equal(whole.params.vector, resumed.params.vector)


def test_sketches_are_added_by_fogs_and_masked_as_they_are() -> None:
    plain = simulate(algorithm="fetchsgd", tree=Tree(cloud=Tier()))
    merged = simulate(algorithm="fetchsgd", tree=Tree(cloud=Tier(), fog=Tier(count=2)))
    masked = simulate(algorithm="fetchsgd", tree=Tree(cloud=Tier(exchange="secagg(bits=64, weight=1000.0)")))
    np.testing.assert_allclose(merged.params.vector, plain.params.vector, atol=1e-5)
    np.testing.assert_allclose(masked.params.vector, plain.params.vector, atol=1e-3)


@pytest.mark.parametrize(
    ("algorithm", "tree", "sentence"),
    [
        ("fedavg", Tree(cloud=Tier(uplink=[CODE])), "FedAvg cannot add up changes; take the method 'ef21'"),
        ("ef21", Tree(), "names no stage that sends changes, which Ef21 adds up"),
        ("ef21", Tree(cloud=Tier(uplink=["stc"])), "names no stage that sends changes"),
        (
            "ef21",
            Tree(cloud=Tier(uplink=[CODE]), fog=Tier(count=2, uplink=[CODE])),
            "fog sends sums of updates, and no single ones",
        ),
        ("ef21", Tree(cloud=Tier(), fog=Tier(count=2, rounds=2, uplink=[CODE])), "no rounds of a tier's own"),
        ("ef21", Tree(cloud=Tier(uplink=[CODE], rule="median")), "adds up all changes that devices tell of"),
        ("ef21", Tree(cloud=Tier(uplink=[CODE], cohort=3, over_selection=2.0)), "or set cloud.late to 'fold'"),
    ],
)
def test_what_does_not_go_together_is_refused(algorithm: str, tree: Tree, sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        simulate(algorithm=algorithm, tree=tree)


@pytest.mark.parametrize("code", ["ef21('powersgd')", "ef21('eden(bits=2)', feedback=true)", "ef21('clip(norm=1.0)')"])
def test_codes_that_it_cannot_go_on_with_are_refused(code: str) -> None:
    with pytest.raises(JobError, match=r"go on with|goes on from"):
        simulate(code=code)
