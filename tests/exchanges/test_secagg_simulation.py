"""Secure aggregation in a job, on the virtual clock: the model is the one without it, up to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline import Tier, Tree, simulate
from fogline.algorithms import ClientUpdate, FedAvg, Weighted
from fogline.exchanges.secagg import SecAgg
from fogline.jobs import JobError
from fogline.monitoring.mishaps import RunError
from fogline.monitoring.result import Result
from fogline.nodes.policies import SelectionPolicyError
from fogline.training import DeviceContext
from fogline.user_code.bugs import CodeError
from tests.toy import ToyTask, toy_data

SECAGG = "secagg(weight=100.0, clip=4.0)"


def run(tree: Tree, clients: int = 8, rounds: int = 3, **more: Any) -> Result:
    return simulate(ToyTask(toy_data(clients)), tree=tree, rounds=rounds, progress=False, processes=0, **more)


def close(one: Result, other: Result) -> bool:
    return bool(np.abs(one.params.vector - other.params.vector).max() < 1e-4)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("exact", [False, True])
def test_the_model_is_that_of_the_plain_mean(bits: int, exact: bool) -> None:
    with_it = run(Tree(cloud=Tier(exchange=SecAgg(weight=100.0, clip=4.0, bits=bits))), exact=exact)
    without = run(Tree(), exact=exact)
    assert close(with_it, without)
    assert not np.array_equal(with_it.params.vector, without.params.vector)
    assert [row["devices"] for row in with_it.history] == [8.0] * 3
    assert with_it.history[-1]["seconds"] > without.history[-1]["seconds"]
    assert with_it.history[-1]["up/cloud"] > without.history[-1]["up/cloud"]


@pytest.mark.parametrize("algorithm", ["scaffold", "fedprox"])
def test_under_fogs_and_with_other_methods_too(algorithm: str) -> None:
    """Every fog has the sum of its own devices; a method may report several vectors, of which each has its weight."""
    plain = Tree(cloud=Tier(), fog=Tier(count=2))
    with_it = run(Tree(cloud=Tier(), fog=Tier(count=2, exchange=SECAGG)), algorithm=algorithm)
    assert close(with_it, run(plain, algorithm=algorithm))


FOGS = SecAgg(bits=64, clip=4.0)
"""Between a cloud and its fogs, which weigh as much as all their devices."""


@pytest.mark.parametrize("below", ["", SECAGG])
@pytest.mark.parametrize(
    ("exact", "rounds", "algorithm"),
    [(False, 1, "fedavg"), (True, 1, "fedavg"), (False, 2, "fedavg"), (False, 2, "scaffold")],
)
def test_fogs_take_part_in_the_exchange_of_the_cloud(below: str, exact: bool, rounds: int, algorithm: str) -> None:
    """Alone, or beside that of their devices; with what they have merged, or with a movement of their own."""
    fog = Tier(count=3, rounds=rounds)
    plain = run(Tree(cloud=Tier(), fog=fog), exact=exact, algorithm=algorithm, clients=9)
    fog = Tier(count=3, rounds=rounds, exchange=below)
    with_it = run(Tree(cloud=Tier(exchange=FOGS), fog=fog), exact=exact, algorithm=algorithm, clients=9)
    assert close(with_it, plain)
    assert [row["devices"] for row in with_it.history] == [9.0] * 3
    assert with_it.history[-1]["up/cloud"] > plain.history[-1]["up/cloud"]
    assert with_it.counts == plain.counts


def test_three_tiers_that_all_have_one() -> None:
    def tree(exchange: SecAgg | str) -> Tree:
        one = {"exchange": exchange}
        return Tree(cloud=Tier(**one), region=Tier(count=2, **one), fog=Tier(count=4, **one))

    assert close(run(tree(SecAgg(bits=64, minimum=2)), clients=8), run(tree(""), clients=8))


def test_a_fog_out_of_range_counts_as_failed_with_all_its_devices() -> None:
    tree = Tree(cloud=Tier(exchange=SecAgg(weight=50.0, minimum=2)), fog=Tier(count=3), assign="blocks")
    found = run(tree, clients=7)
    sizes = [row["devices"] for row in found.history]
    assert sizes == [4.0] * 3, found.reasons
    assert any("set 'weight' of the exchange" in why for why in found.reasons.values())


def test_the_minimum_is_of_devices_also_where_fogs_take_part() -> None:
    def tree(minimum: int, weight: float = 1e4) -> Tree:
        cloud = Tier(exchange=SecAgg(bits=64, weight=weight, minimum=2))
        return Tree(cloud=cloud, fog=Tier(count=3), assign="blocks", minimum=minimum)

    assert [row["devices"] for row in run(tree(7), clients=7).history] == [7.0] * 3
    with pytest.raises(RunError, match="4 devices, the job's minimum is 5"):
        run(tree(5, weight=50.0), clients=7)


@pytest.mark.parametrize("tiers", [("cloud",), ("cloud", "fog")])
def test_what_is_clipped_is_clipped_before_it_is_masked(tiers: tuple[str, ...]) -> None:
    def tree(exchange: SecAgg | str) -> Tree:
        last = {"exchange": exchange, "uplink": ["clip(norm=0.05)"]}
        more = {} if len(tiers) == 1 else {"cloud": Tier(), "fog": Tier(count=2, **last)}
        return Tree(**(more or {"cloud": Tier(**last)}))

    with_it, plain = run(tree(SecAgg(weight=100.0, clip=4.0, bits=64))), run(tree(""))
    assert close(with_it, plain)
    assert not close(plain, run(Tree()))  # It does clip.


@pytest.mark.parametrize("mode", ["semi-async", "async"])
def test_without_synchronous_rounds_each_sum_is_of_one_version(mode: str) -> None:
    """Of children that were asked together; how old a sum is, all know of each other, and it is weighed as one."""
    secure: dict[str, Any] = {"mode": mode, "exchange": SecAgg(bits=64, clip=4.0)}
    if mode == "async":
        found = run(Tree(cloud=Tier(cohort=9, buffer=3, **secure)), clients=9, rounds=8, algorithm="fedbuff")
        assert {row["devices"] for row in found.history} == {3.0}
    else:
        found = run(Tree(cloud=Tier(speed_classes=2, **secure)), clients=9, rounds=8)
        assert {row["devices"] for row in found.history} <= {4.0, 5.0}
    assert found.counts.get("abandoned", 0) == 0
    assert found.history[-1]["loss"] < found.history[0]["loss"]


@pytest.mark.usefixtures("unplotted")
@pytest.mark.parametrize("cloud", ["", "secagg(minimum=2, bits=64)"])
def test_a_run_that_goes_on_gives_the_same_bits(cloud: str, tmp_path: Path) -> None:
    tree = Tree(cloud=Tier(exchange=cloud), fog=Tier(count=2, exchange=SECAGG))
    whole = run(tree, folder=tmp_path / "whole")
    for rounds in (1, 3):
        resumed = run(tree, rounds=rounds, folder=tmp_path / "some", resume=rounds == 3)
    assert np.array_equal(whole.params.vector, resumed.params.vector)


def test_a_device_that_is_too_heavy_says_what_to_do() -> None:
    with pytest.raises(RunError, match="set 'weight' of the exchange"):
        run(Tree(cloud=Tier(exchange="secagg(weight=2.0)")))


class OneByOne(FedAvg):
    def report(self, device: DeviceContext) -> ClientUpdate:
        update = super().report(device)
        terms = {name: Weighted(vector, np.ones(vector.size)) for name, (vector, _) in update.terms.items()}
        return update._replace(terms=terms)


class Far(FedAvg):
    def report(self, device: DeviceContext) -> ClientUpdate:
        return super().report(device)._replace(metrics={"far": 32.05 if device.client == "client-1" else 1.0})


def test_a_method_that_weighs_single_numbers_ends_the_run_at_its_first_update() -> None:
    with pytest.raises(CodeError, match="has a weight for each number, which secure aggregation does not sum"):
        run(Tree(cloud=Tier(exchange=SECAGG)), algorithm=OneByOne())


def test_a_device_out_of_range_counts_as_failed() -> None:
    found = run(Tree(cloud=Tier(exchange=SECAGG)), algorithm=Far())
    assert [row["devices"] for row in found.history] == [7.0] * 3
    assert abs(found.history[-1]["metric/far"] - 1.0) < 1e-3


def test_an_aggregator_with_too_few_devices_is_refused_before_the_run() -> None:
    with pytest.raises(JobError, match="fog-0 has 2 devices and asks 2 in a round, which does not fit its exchange"):
        run(Tree(cloud=Tier(), fog=Tier(count=4, exchange=SECAGG)))


def test_parameters_that_nobody_takes_are_refused() -> None:
    with pytest.raises(JobError, match="and there is none"):
        Tier(exchange_parameters={"threshold": 0.9})
    with pytest.raises(JobError, match="leave it out"):
        Tier(exchange=SecAgg(), exchange_parameters={"threshold": 0.9})


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"evaluation": {"where": "devices"}}, "each device tells by itself what it finds, while the exchange of tree"),
        ({"evaluation": {"where": "both"}}, "take 'secagg', set evaluation.where to 'cloud', or leave the exchange"),
    ],
)
def test_what_devices_would_answer_one_by_one_is_refused_before_the_run(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why):
        run(Tree(cloud=Tier(exchange="ckks")), **asked)


@pytest.mark.parametrize(
    ("tier", "why"),
    [
        ({"exchange": SECAGG, "cohort": 2, "quorum": 2}, "2 devices are asked in a round; a sum of fewer than 3"),
        ({"exchange": "secagg(threshold=0.2)"}, "it must be at least 0.5"),
        ({"exchange": SECAGG, "rule": "median"}, "gives one result of all"),
        ({"exchange": SECAGG, "mode": "ring"}, "in ring mode one child after the other"),
        ({"exchange": SECAGG, "mode": "async", "buffer": 3}, "set tree.cloud.cohort to a count of at least 3"),
        ({"exchange": SECAGG, "mode": "async", "buffer": 2, "cohort": 4}, "asks a buffer's worth of 2 together, which"),
        (
            {"exchange": SECAGG, "mode": "semi-async", "speed_classes": 4},
            "devices in 4 classes of speed and asks 2 in",
        ),
        ({"exchange": SECAGG, "uplink": ["int8"]}, "'int8' cannot stand here: it makes codes"),
        ({"exchange": SECAGG, "policy": "oort"}, "selects by the devices' losses, which they do not tell"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(tier: dict[str, Any], why: str) -> None:
    with pytest.raises((JobError, SelectionPolicyError), match=why):
        run(Tree(cloud=Tier(**tier)))
