"""Homomorphic encryption: the sum is right, nobody without the key reads anything, and whoever lies is found out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fogline[he]'")

import contextlib

from fogline import Tier, Tree
from fogline.aggregation import Arrays, Update
from fogline.compute.exchange import child_step, parent_step, simulated_state
from fogline.exchanges import Exchange, ExchangeError, make_exchange
from fogline.exchanges.ckks import Ckks, CkksSelective
from fogline.exchanges.ckks.terms import dealers_of
from fogline.jobs import JobError
from fogline.simulation.faults import run as faults
from tests.exchanges.rounds import play
from tests.exchanges.test_secagg import NAMES, RUBBISH, is_mean, lie, update_of, updates
from tests.exchanges.test_secagg_simulation import close, run

WHOLE = Ckks(weight=100.0, clip=8.0)
SELECTIVE = CkksSelective(weight=100.0, clip=8.0, share=0.25)
BOTH = pytest.mark.parametrize("exchange", [WHOLE, SELECTIVE], ids=["whole", "selective"])
SENT = "encrypt"
"""The step in which an update is sent."""


def dealers(exchange: Exchange, given: dict[str, Update]) -> list[str]:
    """Who makes a key in a round of these, in order."""
    entries = play(exchange, given).heard["deal", NAMES[0]]["entries"]
    from fogline.exchanges.secagg.roster import KeyRoster

    roster = KeyRoster(exchange._terms.settings, entries)  # type: ignore[attr-defined]
    return [NAMES[number] for number in dealers_of(roster.context, len(given))]


# What it comes to.


@BOTH
@pytest.mark.parametrize("members", [3, 9])
def test_the_sum_is_that_of_a_plain_mean(exchange: Exchange, members: int) -> None:
    rng = np.random.default_rng(members)
    names = [f"n{i}" for i in range(members)]
    given = {name: update_of(rng, size=300, weight=float(rng.integers(1, 100))) for name in names}
    played = play(exchange, given)
    assert played.failed == {}
    assert is_mean(played.update, given, names)
    counters = [int(update.counters[0]) for update in given.values()]
    assert abs(int(played.update.counters[0]) - sum(counters) / members) <= 0.5


@BOTH
def test_who_is_gone_at_a_step_is_in_the_sum_if_its_update_came(exchange: Exchange) -> None:
    given = updates()
    for step in exchange.steps:
        played = play(exchange, given, gone={step: {"d1", "d4"}})
        after = exchange.steps.index(step) > exchange.steps.index(SENT)
        assert is_mean(played.update, given, NAMES if after else ["d0", "d2", "d3", "d5"]), step
        assert played.done.left_out == {}


def test_it_goes_on_without_those_who_make_keys() -> None:
    given = updates()
    first, second, third = dealers(WHOLE, given)
    played = play(WHOLE, given, gone={"deal": {first, second}})
    assert is_mean(played.update, given, [name for name in NAMES if name not in (first, second)])
    # Once its key is taken, whoever has made it may go.
    assert is_mean(play(WHOLE, given, gone={SENT: {first}}).update, given, [name for name in NAMES if name != first])
    with pytest.raises(ExchangeError, match="None of the 3 devices that make a key"):
        play(WHOLE, given, gone={"deal": {first, second, third}})


@BOTH
@pytest.mark.parametrize("step", ["deal", SENT, "survivors", "open"])
def test_with_too_few_there_is_no_sum(exchange: Exchange, step: str) -> None:
    with pytest.raises(ExchangeError):
        play(exchange, updates(), gone={step: set(NAMES[:5])})


def test_each_part_has_its_readers_and_none_too_many() -> None:
    given = updates(size=6 * 2048)
    played = play(WHOLE, given)
    opened = [played.sent["open", name]["opened"].shape[0] for name in NAMES]
    assert sum(opened) == 7 * 5
    assert max(opened) - min(opened) <= 1
    assert is_mean(played.update, given, NAMES)


# What the aggregator sees.


def test_all_that_is_sent_is_as_random_with_another_update() -> None:
    """But for the sum: the same round with two updates changed so that their sum stays gives what is opened alike."""
    given, other = updates(), updates()
    for name, sign in (("d1", 1.0), ("d2", -1.0)):
        weight = given[name].weights["delta"]
        other[name].vectors["delta"] = given[name].vectors["delta"] + np.float32(sign * 0.5 / weight)
    one, two = play(WHOLE, given), play(WHOLE, other)
    apart = one.update.vectors["delta"] - two.update.vectors["delta"]
    assert np.abs(apart).max() < 1e-6
    plain = {
        (step, child, name)
        for (step, child), arrays in one.sent.items()
        for name, array in arrays.items()
        if step == SENT and name != "rows"
    }
    assert plain == set()


def test_the_selective_one_hides_the_blocks_in_which_updates_are_large() -> None:
    given = updates(size=64 * 8)
    for update in given.values():
        update.vectors["delta"][64 * 2 : 64 * 3] *= 7.0
        update.vectors["delta"][64 * 5 : 64 * 6] *= -7.0
    played = play(CkksSelective(weight=100.0, clip=64.0, share=2 / 9), given)
    blocks = np.unpackbits(played.heard[SENT, "d0"]["blocks"], count=9)
    # The vector "buffers" stands before "delta": 3 numbers, by which its blocks are off.
    assert set(np.flatnonzero(blocks)) <= {2, 3, 5, 6}
    assert played.sent[SENT, "d0"]["plain"].shape == (64 * 8 + 3 - 2 * 64,)
    assert is_mean(played.update, given, NAMES, 1e-3)


# Devices that lie.


LIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{what: RUBBISH[what] for what in RUBBISH if RUBBISH[what][0] == "keys"},
    "ciphertexts of another shape": (SENT, {"rows": np.zeros((1, 3), np.uint8)}),
    "ciphertexts that are none": (SENT, {"rows": lambda was: was[:, ::-1].copy()}),
    "nothing": (SENT, {"rows": np.zeros((0, 0), np.uint8)}),
}


@pytest.mark.parametrize("what", LIES)
def test_who_sends_rubbish_is_out_and_the_sum_of_the_others_is_right(what: str) -> None:
    step, change = LIES[what]
    given = updates()
    assert is_mean(
        play(WHOLE, given, sends=lie(step, "d3", change)).update, given, [name for name in NAMES if name != "d3"]
    )


@pytest.mark.parametrize("name", ["sealed", "locked"])
def test_who_seals_rubbish_spoils_a_round_and_no_more(name: str) -> None:
    given = updates()
    (first, *_) = dealers(WHOLE, given)
    with pytest.raises(ExchangeError, match="have sent an encrypted update"):
        play(WHOLE, given, sends=lie("deal", first, {name: lambda was: was ^ 1}))


def test_who_seals_for_few_only_is_not_taken() -> None:
    given = updates()
    (first, *_) = dealers(WHOLE, given)
    played = play(
        WHOLE, given, sends=lie("deal", first, {"sealed": lambda was: np.concatenate([was[:2], was[2:] * 0])})
    )
    assert is_mean(played.update, given, NAMES)


@pytest.mark.parametrize("change", [{"opened": lambda was: was ^ 1}, {"opened": np.zeros(3, np.int32)}])
def test_what_one_device_opens_wrongly_is_not_taken(change: dict[str, Any]) -> None:
    given = updates()
    assert is_mean(play(WHOLE, given, sends=lie("open", "d3", change)).update, given, NAMES)


def test_what_most_open_differently_is_no_sum() -> None:
    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        return {"opened": arrays["opened"] + NAMES.index(child)} if step == "open" else arrays

    with pytest.raises(ExchangeError, match="Part 0 of the sum: 1 of 5 devices"):
        play(WHOLE, updates(), sends=says)


def test_an_update_of_another_round_does_not_open() -> None:
    given = updates()
    before = play(WHOLE, given, turn=9).sent[SENT, "d3"]
    with pytest.raises(ExchangeError):
        play(WHOLE, given, sends=lie(SENT, "d3", before))


# An aggregator that lies.


def opened_by(exchange: Exchange, given: dict[str, Update], hears: Callable[[str, str, Arrays], Arrays]) -> list[Any]:
    """What devices open for such an aggregator."""
    found = list[Any]()

    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        if step == "open":
            found.append(arrays["opened"])
        return arrays

    with contextlib.suppress(ExchangeError):
        play(exchange, given, hears=hears, sends=says)
    return found


@pytest.mark.parametrize("times", [1, 6])
def test_a_single_update_in_place_of_the_sum_opens_to_random_numbers(times: int) -> None:
    """The aggregator has one device's ciphertexts opened, or a multiple of them, and says that they are the sum."""
    from fogline.privacy.ckks import CkksSum

    given, kept = updates(size=1000), dict[str, Arrays]()

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if step != "open":
            return arrays
        total = CkksSum(1)
        for _ in range(times):
            total.add(kept["d2"]["rows"])
        return arrays | {"parts": np.zeros(1, np.int64), "rows": total.rows()}

    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        if step == SENT:
            kept[child] = arrays
        if step == "open":
            kept[f"opened by {child}"] = arrays
        return arrays

    with pytest.raises(ExchangeError):
        play(WHOLE, given, hears=hears, sends=says)
    opened = kept["opened by d0"]["opened"][0, :1003].astype(np.float64) / 2**31
    # Uniform: neither small, as an update in its ring is (below 1/24 here), nor of its sign.
    assert 0.45 < np.abs(opened).mean() < 0.55
    assert np.abs(opened).max() > 0.95
    truth = np.concatenate([given["d2"].vectors["buffers"], given["d2"].vectors["delta"]])
    assert abs(np.corrcoef(opened, truth)[0, 1]) < 0.15


def test_two_lists_of_survivors_are_not_opened_both() -> None:
    """Half of the devices are told that d0 is not in the sum: the difference of two sums would be its update."""

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if step != "survivors" or child in NAMES[:3]:
            return arrays
        there = np.unpackbits(arrays["survivors"], count=6)
        there[0] = 0
        return {"survivors": np.packbits(there)}

    assert opened_by(WHOLE, updates(), hears) == []


def test_two_keys_in_one_round_open_nothing() -> None:
    """Half of the devices are handed on the key of another of those who make them."""
    given, dealt = updates(), dict[str, Arrays]()
    names = dealers(WHOLE, given)

    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        if step == "deal":
            dealt[child] = arrays
        if step == "open":
            raise AssertionError(child)
        return arrays

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if step != SENT or child not in [name for name in NAMES if name != names[1]][:3]:
            return arrays
        other = dealt[names[1]]
        return {"dealer": np.array([1]), "locked": other["locked"], "sealed": other["sealed"][NAMES.index(child)]}

    with pytest.raises(ExchangeError, match="0 of 0 devices"):
        play(WHOLE, given, hears=hears, sends=says)


def test_no_device_opens_a_sum_of_too_few() -> None:
    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        return {"survivors": np.packbits([1, 0, 0, 0, 1, 0])} if step == "survivors" else arrays

    assert opened_by(WHOLE, updates(), hears) == []


@pytest.mark.parametrize("step", Ckks.steps[1:])
def test_an_aggregator_that_answers_rubbish_learns_nothing(step: str) -> None:
    def hears(at: str, child: str, arrays: Arrays) -> Arrays:
        return {"entries": np.zeros((3, 3), np.uint8)} if at == step else arrays

    assert opened_by(WHOLE, updates(), hears) == []


def test_blocks_that_no_device_has_named_are_not_left_open() -> None:
    """The aggregator wants other blocks encrypted than the largest ones."""

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        return arrays | {"blocks": arrays["blocks"][::-1] ^ 1} if step == SENT else arrays

    with pytest.raises(ExchangeError, match="have sent an encrypted update"):
        play(SELECTIVE, updates(size=1000), hears=hears)


def test_a_device_keeps_no_update_once_it_is_sent() -> None:
    given = updates(NAMES[:3])
    states = {name: simulated_state(WHOLE, update.to_arrays(), name, 1, name) for name, update in given.items()}
    seeds = {name: state["seed"].tobytes() for name, state in states.items()}
    received: dict[str, Arrays] = {name: {} for name in given}
    told: Arrays = {}
    for number in range(3):
        made = {name: child_step(WHOLE, number, states[name], received[name]) for name in given}
        states = {name: after.arrays for name, (_, after) in made.items()}
        replies, after = parent_step(WHOLE, number, told, {name: sent.arrays for name, (sent, _) in made.items()})
        received, told = {name: reply.arrays for name, reply in replies.items()}, after.arrays
    for name, state in states.items():
        assert not any("vector" in key or "numbers" in key for key in state)
        assert all(seeds[name] not in array.tobytes() for array in state.values())
    # The aggregator has nothing of the group's key.
    secret = states["d0"]["group/secret"].tobytes()
    assert all(secret not in array.tobytes() for array in told.values())


# In jobs.


def test_the_model_of_a_simulation_is_that_of_the_plain_mean_and_a_run_repeats(tmp_path: Path) -> None:
    text = "ckks(weight=100.0, clip=4.0)"
    with_it, again = (run(Tree(cloud=Tier(exchange=text))) for _ in range(2))
    assert close(with_it, run(Tree()))
    assert np.array_equal(with_it.params.vector, again.params.vector)
    rows = [[{**row, "wall": 0.0} for row in one.history] for one in (with_it, again)]
    assert rows[0] == rows[1]
    selective = run(Tree(cloud=Tier(exchange="ckks_selective(weight=100.0, clip=4.0, share=0.5)")))
    assert close(selective, run(Tree()))


def test_the_fault_world_finds_nothing_lost_or_counted_twice() -> None:
    exchange = Ckks(clip=2.0**20, weight=1.0, minimum=2)
    outcomes = [faults(seed, exchange=exchange) for seed in range(12)]
    assert sum(outcome.rounds for outcome in outcomes) > 12
    assert sum(outcome.crashes for outcome in outcomes) > 12


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ckks(minimum=1)", "it must be at least 2"),
        ("ckks(readers=0)", "it must be at least 1"),
        ("ckks(share=0.1)", "'share'"),
        ("ckks_selective(share=1.0)", "below 1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        make_exchange(text)


def test_a_cohort_that_it_has_no_room_for_is_refused() -> None:
    with pytest.raises(ExchangeError, match="room for 2000"):
        Ckks().check_cohort(2001)
    with pytest.raises(JobError, match="a sum of fewer than 3"):
        run(Tree(cloud=Tier(exchange="ckks", cohort=2, quorum=2)))
