"""Secure aggregation: its sum is right, and whoever lies is found out or left out. The adversaries stand here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.aggregation import Arrays, Update
from fogline.algorithms import make
from fogline.compute.exchange import child_step, first_state, parent_step, simulated_state
from fogline.compute.groups import Groups
from fogline.exchanges import ExchangeError, make_exchange
from fogline.exchanges.secagg import SecAgg
from fogline.exchanges.secagg.layout import Layout
from fogline.exchanges.secagg.packing import packed, unpacked
from fogline.exchanges.secagg.roster import entry_of
from fogline.nodes import Device
from fogline.nodes.effects import ChildStep, Send, Train
from fogline.nodes.events import Received, StepComputed, Trained
from fogline.nodes.messages import Report, Step, Work, reply_key
from fogline.privacy.agreement import derive, public_key
from fogline.user_code.bugs import CodeError
from tests.exchanges.rounds import play
from tests.toy import ToyTask, toy_data

NAMES = [f"d{i}" for i in range(6)]
EXCHANGE = SecAgg(threshold=0.5, weight=100.0, clip=8.0)
"""Of six devices two may be gone."""


def update_of(rng: np.random.Generator, size: int = 20, weight: float = 1.0) -> Update:
    vectors = {"delta": rng.standard_normal(size).astype(np.float32), "buffers": rng.standard_normal(3)}
    return Update(vectors, {"delta": weight, "buffers": weight}, np.array([int(weight)], np.int64))


def updates(names: list[str] = NAMES, **more: Any) -> dict[str, Update]:
    rng = np.random.default_rng(5)
    return {name: update_of(rng, weight=10.0 * (i + 1), **more) for i, name in enumerate(names)}


def plain(given: dict[str, Update], inside: list[str]) -> dict[str, np.ndarray]:
    """The weighted mean, as it should be."""
    total = sum(given[name].weights["delta"] for name in inside)
    return {
        vector: sum(given[name].vectors[vector] * given[name].weights[vector] for name in inside) / total  # type: ignore[operator]
        for vector in ("delta", "buffers")
    }


def is_mean(found: Update, given: dict[str, Update], inside: list[str], off: float = 1e-4) -> bool:
    wanted = plain(given, inside)
    assert found.count == len(inside)
    assert found.weights["delta"] == sum(given[name].weights["delta"] for name in inside)
    return all(np.abs(found.vectors[name] - wanted[name]).max() < off for name in wanted)


# What it comes to.


@settings(max_examples=25)
@given(st.integers(3, 12), st.sampled_from([32, 64]), st.integers(0, 2**32), st.sampled_from([0.5, 0.6, 0.8]))
def test_the_sum_is_that_of_a_plain_mean(members: int, bits: int, seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    names = [f"n{i}" for i in range(members)]
    given = {name: update_of(rng, weight=float(rng.integers(1, 100))) for name in names}
    exchange = SecAgg(weight=100.0, clip=8.0, bits=bits, threshold=threshold)
    played = play(exchange, given, turn=seed)
    assert played.failed == {}
    assert is_mean(played.update, given, names, 1e-4 if bits == 32 else 1e-6)
    assert played.update.vectors["delta"].dtype == np.float32
    assert played.update.vectors["buffers"].dtype == np.float64
    counters = [int(update.counters[0]) for update in given.values()]
    assert abs(int(played.update.counters[0]) - sum(counters) / members) <= 0.5


@pytest.mark.parametrize("bits", [32, 64])
def test_numbers_up_to_the_clip_are_summed_and_a_device_with_larger_ones_fails(bits: int) -> None:
    given = {
        name: Update({"delta": np.full(4, -2.0), "metrics": np.ones(1)}, {"delta": 1.0, "metrics": 1.0})
        for name in NAMES
    }
    given["d4"].vectors["metrics"] = np.array([32.05])
    played = play(SecAgg(clip=2.0, bits=bits, weight=1.0), given)
    assert set(played.failed) == {"d4"}
    assert (
        "'metrics' has numbers of up to about 32, and the range of the exchange ends at 2; raise" in played.failed["d4"]
    )
    assert np.allclose(played.update.vectors["delta"], -2.0)
    assert np.allclose(played.update.vectors["metrics"], 1.0)


def test_a_mean_in_too_few_steps_is_refused() -> None:
    given = {name: Update({"delta": np.ones(4)}, {"delta": 0.002}) for name in NAMES}
    with pytest.raises(ExchangeError, match=r"The weights of 'delta' come to so little .* lower 'weight'"):
        play(SecAgg(weight=1e6), given)
    assert np.allclose(play(SecAgg(weight=1.0), given).update.vectors["delta"], 1.0, atol=1e-3)


def test_weights_of_single_numbers_end_the_job() -> None:
    given = {name: Update({"delta": np.ones(2)}, {"delta": np.ones(2)}) for name in NAMES}
    with pytest.raises(CodeError, match="'delta' has a weight for each number"):
        play(EXCHANGE, given)


@pytest.mark.parametrize("step", SecAgg.steps)
def test_who_is_gone_at_a_step_is_in_the_sum_if_its_masked_update_came(step: str) -> None:
    given = updates()
    played = play(EXCHANGE, given, gone={step: {"d1", "d4"}})
    after = EXCHANGE.steps.index(step) > EXCHANGE.steps.index("masked")
    inside = NAMES if after else ["d0", "d2", "d3", "d5"]
    assert is_mean(played.update, given, inside)
    assert played.done.left_out == {}
    # Who fell silent in the last step has not reported, and is in the sum.
    reported = {child for name, child in played.sent if name == "unmask"}
    assert set(played.done.silent) == set(inside) - reported


@pytest.mark.parametrize("step", ["shares", "masked", "survivors", "unmask"])
def test_with_too_few_there_is_no_sum(step: str) -> None:
    with pytest.raises(ExchangeError):
        play(EXCHANGE, updates(), gone={step: {"d1", "d2", "d4"}})


@settings(max_examples=30)
@given(st.lists(st.sampled_from([*range(5), 9]), min_size=8, max_size=8))
def test_whoever_is_gone_when_the_sum_is_right_or_there_is_none(leaves: list[int]) -> None:
    names = [f"n{i}" for i in range(8)]
    given = updates(names)
    gone = {step: {n for n, at in zip(names, leaves, strict=True) if at <= i} for i, step in enumerate(EXCHANGE.steps)}
    try:
        played = play(EXCHANGE, given, gone=gone)
    except ExchangeError:
        return
    assert is_mean(played.update, given, [n for n, at in zip(names, leaves, strict=True) if at > 2])


def test_a_sparse_graph_gives_the_sum_too() -> None:
    names = [f"n{i:03}" for i in range(140)]
    rng = np.random.default_rng(0)
    given = {name: Update({"delta": rng.standard_normal(3)}, {"delta": 2.0}) for name in names}
    exchange = SecAgg(threshold=0.5, weight=2.0, clip=8.0)
    assert exchange._settings.peers(140) < 139  # type: ignore[reportPrivateUsage]
    away = set(names[::7])
    played = play(exchange, given, gone={"masked": away})
    inside = [name for name in names if name not in away]
    wanted = np.mean([given[name].vectors["delta"] for name in inside], axis=0)
    assert np.abs(played.update.vectors["delta"] - wanted).max() < 1e-4


def test_nothing_that_is_sent_tells_of_the_update() -> None:
    """The same keys, two updates: all that differs is the masked one, by what the updates differ in the ring. So with
    keys that nobody knows, and which are used once, it is a one-time pad."""
    first, second = updates(), updates()
    second["d2"].vectors["delta"] = -second["d2"].vectors["delta"]
    one, other = play(EXCHANGE, first), play(EXCHANGE, second)
    differ = {
        (step, child, name)
        for (step, child), arrays in one.sent.items()
        for name, array in arrays.items()
        if not np.array_equal(array, other.sent[step, child][name])
    }
    assert differ == {("masked", "d2", "numbers")}
    fresh = play(EXCHANGE, first, turn=2)
    for key, arrays in one.sent.items():
        for name in arrays.keys() - {"layout", "refused", "proof", "drawn"}:
            assert not np.array_equal(arrays[name], fresh.sent[key][name]), (key, name)


# Devices that lie.


def lie(at: str, who: str, change: dict[str, Any]) -> Any:
    """That child sends something else in that step."""

    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        if (step, child) != (at, who):
            return arrays
        changed: Any = {name: to(arrays[name]) if callable(to) else to for name, to in change.items()}
        return arrays | changed

    return says


RUBBISH: dict[str, tuple[str, dict[str, Any]]] = {
    "keys of another shape": ("keys", {"keys": np.zeros((2, 31), np.uint8)}),
    "a proof that is none": ("keys", {"proof": np.zeros(64, np.uint8)}),
    "no layout": ("keys", {"layout": np.frombuffer(b"{}", np.uint8)}),
    "another layout than all": ("keys", {"layout": lambda was: np.concatenate([was, was])}),
    "peers of another type": ("peers", {"drawn": np.arange(5)}),
    "peers that do not exist": ("peers", {"drawn": np.full(5, 6, np.int32)}),
    "itself as a peer": ("peers", {"drawn": np.array([0, 1, 2, 3, 4], np.int32)}),
    "one peer twice": ("peers", {"drawn": np.array([0, 1, 2, 4, 4], np.int32)}),
    "peers below zero": ("peers", {"drawn": np.arange(-1, 4, dtype=np.int32)}),
    "shares that do not open": ("shares", {"sealed": lambda was: was ^ 1}),
    "tags that are none of its shares": ("shares", {"tags": lambda was: was ^ 1}),
    "shares of another shape": ("shares", {"sealed": np.zeros(3, np.uint8)}),
    "complaints about everybody": ("shares", {"refused": np.ones(5, np.uint8)}),
    "a masked update of another size": ("masked", {"numbers": np.zeros(3, np.int32)}),
    "a masked update in floating point": ("masked", {"numbers": np.zeros(23, np.float32)}),
    "late complaints about everybody": ("masked", {"refused": np.ones(5, np.uint8)}),
}


@pytest.mark.parametrize("what", RUBBISH)
def test_who_sends_rubbish_is_out_and_the_sum_of_the_others_is_right(what: str) -> None:
    step, change = RUBBISH[what]
    given = updates()
    played = play(EXCHANGE, given, sends=lie(step, "d3", change))
    assert is_mean(played.update, given, [name for name in NAMES if name != "d3"])


def test_a_key_of_small_order_is_refused_by_all() -> None:
    given = updates()
    played = play(EXCHANGE, given, sends=lie("keys", "d3", {"keys": np.zeros((2, 32), np.uint8)}))
    assert is_mean(played.update, given, [name for name in NAMES if name != "d3"])


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("survivors", {"words": lambda was: was ^ 1}),
        ("unmask", {"shares": lambda was: was ^ 1}),
        ("unmask", {"shares": np.zeros(1, np.uint8)}),
    ],
)
def test_wrong_words_and_shares_are_not_used(step: str, change: dict[str, Any]) -> None:
    given = updates()
    assert is_mean(play(EXCHANGE, given, sends=lie(step, "d3", change)).update, given, NAMES)


def test_wrong_shares_of_too_many_are_no_wrong_sum() -> None:
    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        wrong = step == "unmask" and child in ("d1", "d2", "d3")
        return {"shares": arrays["shares"] ^ 1} if wrong else arrays

    with pytest.raises(ExchangeError, match="shares that hold came for a mask of device"):
        play(EXCHANGE, updates(), sends=says)


def test_shares_that_are_of_no_secret_are_no_wrong_sum() -> None:
    """A device deals out, with tags that hold, what comes to another secret than the one that its mask is made of."""
    with pytest.raises(ExchangeError, match="do not come to its own mask"):
        play(EXCHANGE, updates(), sends=lie("shares", "d3", {"check": lambda was: was ^ 1}))


def test_the_mask_of_another_round_is_no_wrong_sum() -> None:
    given = updates()
    before = play(EXCHANGE, given, turn=9).sent["masked", "d3"]
    for names in (("numbers", "tail"), ("tail",)):
        with pytest.raises(ExchangeError, match="The sum does not come out"):
            play(EXCHANGE, given, sends=lie("masked", "d3", {name: before[name] for name in names}))
    with pytest.raises(ExchangeError, match="a mask does not cancel out"):
        play(EXCHANGE, updates(size=200), sends=lie("masked", "d3", {"numbers": np.arange(203, dtype=np.int32) << 12}))


def test_the_same_shares_from_another_round_do_not_open() -> None:
    given = updates()
    before = play(EXCHANGE, given, turn=9).sent["shares", "d3"]
    played = play(EXCHANGE, given, sends=lie("shares", "d3", before))
    assert is_mean(played.update, given, [name for name in NAMES if name != "d3"])


# An aggregator that lies.


def test_an_aggregator_that_shows_two_lists_of_survivors_gets_no_shares() -> None:
    """It tells half of the devices that d0 is gone, to be given shares of both of its secrets."""

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if step != "survivors" or child in ("d0", "d1", "d2"):
            return arrays
        there = np.unpackbits(arrays["survivors"], count=6)
        there[0] = 0
        return {"survivors": np.packbits(there)}

    with pytest.raises(ExchangeError):
        play(EXCHANGE, updates(), hears=hears)
    played: dict[str, str] = {}

    def unmasking(step: str, child: str, arrays: Arrays) -> Arrays:
        played[child] = step
        return arrays

    with pytest.raises(ExchangeError):
        play(EXCHANGE, updates(), hears=hears, sends=unmasking)
    assert "unmask" not in played.values()


def test_one_list_for_a_single_device_gives_that_device_away_to_nobody() -> None:
    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if step != "survivors" or child != "d5":
            return arrays
        return {"survivors": np.packbits([0, 1, 1, 1, 1, 1])}

    given = updates()
    played = play(EXCHANGE, given, hears=hears)
    assert re.search("were shown the list of survivors that this device was shown", played.failed["d5"])
    assert is_mean(played.update, given, NAMES)  # The others had one list, and are enough.


def sent_until_refused(hears: Callable[[str, str, Arrays], Arrays]) -> set[str]:
    """The steps that devices sent before the exchange with such an aggregator failed."""
    sent: set[str] = set()

    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        sent.add(step)
        return arrays

    with pytest.raises(ExchangeError):
        play(EXCHANGE, updates(), hears=hears, sends=says)
    return sent


@pytest.mark.parametrize("kept", [[0], [0, 1]])
def test_no_device_unmasks_a_sum_of_too_few(kept: list[int]) -> None:
    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        listed = np.zeros(6, np.uint8)
        listed[kept] = 1
        return {"survivors": np.packbits(listed)} if step == "survivors" else arrays

    assert "survivors" not in sent_until_refused(hears)


def test_a_round_of_too_few_is_refused_by_every_device() -> None:
    with pytest.raises(ExchangeError, match="tells too much of each"):
        play(EXCHANGE, updates(NAMES[:2]))


def swapped(arrays: Arrays, what: str, by: np.ndarray) -> Arrays:
    changed = arrays[what].copy()
    changed[0] = by
    return arrays | {what: changed}


def test_keys_of_its_own_in_place_of_a_peers_are_refused() -> None:
    """The aggregator sits between two devices: it makes both entry and keys, but has no proof for that name."""
    mine = np.full((2, 32), 9, np.uint8)

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if child != "d0" or step not in ("peers", "shares"):
            return arrays
        if step == "shares":
            return swapped(arrays, "keys", mine)
        layout = SENT["keys", "d1"]["layout"].tobytes()
        entries = arrays["entries"].copy()
        entries[1] = np.frombuffer(entry_of(b"d1", mine, layout), np.uint8)
        return arrays | {"entries": entries}

    given = updates()
    SENT = play(EXCHANGE, given).sent
    sealed: dict[str, Arrays] = {}

    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        if (step, child) == ("shares", "d0"):
            sealed[child] = arrays
        return arrays

    play(EXCHANGE, given, hears=hears, sends=says, gone={"masked": {"d0"}})
    assert sealed["d0"]["refused"].tolist() == [1, 0, 0, 0, 0]
    assert not sealed["d0"]["sealed"][0].any()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"masked": np.zeros(5, np.uint8)}, "leaves out masks with peers that this device has drawn"),
        ({"peers": np.array([0, 1, 2, 3, 5])}, "names no peers"),
        ({"peers": np.array([1, 2, 3, 4, 6])}, "names no peers"),
        ({"peers": np.array([2, 1, 3, 4, 5])}, "names no peers"),
        ({"deals": np.ones(2, np.uint8)}, "'deals' should be uint8"),
    ],
)
def test_an_aggregator_that_changes_who_is_whose_peer_is_refused(change: Arrays, why: str) -> None:
    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        return arrays | change if (step, child) == ("shares", "d5") else arrays

    # The last of six: its number is 5.
    assert why in play(EXCHANGE, updates(), hears=hears).failed["d5"]


def test_an_aggregator_that_leaves_out_the_peers_that_a_device_has_drawn_gets_nothing_of_it() -> None:
    """Of 140 it shows one device only those that have drawn it, as if all that it has drawn were gone."""
    names = [f"n{i:03}" for i in range(140)]
    given = {name: Update({"delta": np.ones(3)}, {"delta": 1.0}) for name in names}
    drew: dict[str, np.ndarray] = {}

    def says(step: str, child: str, arrays: Arrays) -> Arrays:
        drew.update({child: arrays["drawn"]} if step == "peers" else {})
        return arrays

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if (step, child) != ("shares", "n007"):
            return arrays
        others = np.flatnonzero(~np.isin(arrays["peers"], drew[child]))
        texts = {name: unpacked(arrays, name, len(arrays["peers"])) for name in ("names", "proofs")}
        kept = {name: arrays[name][others] for name in ("peers", "deals", "masked", "keys")}
        return kept | {k: v for name, of in texts.items() for k, v in packed(name, [of[i] for i in others]).items()}

    played = play(SecAgg(threshold=0.5, weight=2.0, clip=8.0), given, sends=says, hears=hears)
    assert re.search(r"0 of the device's \d+ peers have shown keys", played.failed["n007"])
    assert played.update.count == 139


def test_who_knows_the_whole_list_cannot_tell_whom_a_device_will_draw() -> None:
    """So nobody can try keys for devices of its own until they are many among a device's peers."""
    entries = np.random.default_rng(3).integers(0, 256, (300, 32)).astype(np.uint8)
    update, drew = updates()["d0"], set[bytes]()
    for turn in range(3):
        state = simulated_state(EXCHANGE, update.to_arrays(), "d0", 0, f"{turn}/d0")
        _, kept = child_step(EXCHANGE, 0, state, {})
        entries[7] = np.frombuffer(entry_at(kept.arrays), np.uint8)
        sent, _ = child_step(EXCHANGE, 1, kept.arrays, {"entries": entries})
        drew.add(np.sort(sent.arrays["drawn"]).tobytes())
        again = child_step(EXCHANGE, 1, kept.arrays, {"entries": entries})[0]
        assert np.array_equal(sent.arrays["drawn"], again.arrays["drawn"])
    assert len(drew) == 3


def entry_at(state: Arrays) -> bytes:
    """A device's own entry."""
    keys = [public_key(state["identity/secret"].tobytes()), public_key(derive(state["seed"].tobytes(), "mask key"))]
    layout = Layout.of(Update.from_arrays(state)).text
    return entry_of(b"d0", np.frombuffer(b"".join(keys), np.uint8).reshape(2, 32), layout)


def test_devices_whose_update_does_not_fit_the_model_are_out_however_many_say_so() -> None:
    task = ToyTask(toy_data(8))
    folds, given = Groups(make("fedavg"), task.shared), dict[str, Update]()
    for name in NAMES:
        delta = np.zeros(task.shared.trainable - (name > "d1"), np.float32)
        buffers = np.zeros(task.shared.floats - task.shared.trainable, np.float32)
        given[name] = Update(
            {"delta": delta, "buffers": buffers}, {"delta": 1.0, "buffers": 1.0}, np.zeros(task.shared.integers, int)
        )
    given["d5"] = given["d0"]
    states = {name: simulated_state(EXCHANGE, u.to_arrays(), name, 0, name) for name, u in given.items()}
    payloads = {name: child_step(EXCHANGE, 0, state, {})[0].arrays for name, state in states.items()}
    payloads["d4"] = payloads["d4"] | {"layout": np.zeros(3, np.uint8)}
    replies, _ = parent_step(EXCHANGE, 0, {}, payloads, folds)
    assert sorted(replies) == ["d0", "d1", "d5"]


def test_keys_that_are_not_those_of_the_list_are_refused() -> None:
    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        mine = np.full((2, 32), 9, np.uint8)
        return swapped(arrays, "keys", mine) if (step, child) == ("shares", "d0") else arrays

    played = play(EXCHANGE, updates(), hears=hears)
    assert "do not agree" in played.failed["d0"]


def test_keys_of_an_earlier_round_open_nothing() -> None:
    """A device's keys of the round before, with the proof that went with them: the aggregator may know its mask key
    from there. Its shares were sealed with a secret that nobody knows, so it is no peer of anybody."""
    given = updates()
    before = play(EXCHANGE, given, turn=9).sent["keys", "d3"]
    played = play(EXCHANGE, given, sends=lie("keys", "d3", before))
    assert "d3" in played.failed
    assert is_mean(played.update, given, [name for name in NAMES if name != "d3"])


@pytest.mark.parametrize("step", SecAgg.steps[1:])
def test_an_aggregator_that_answers_rubbish_learns_nothing(step: str) -> None:
    def hears(at: str, child: str, arrays: Arrays) -> Arrays:
        return {"entries": np.zeros((3, 3), np.uint8)} if at == step else arrays

    assert step not in sent_until_refused(hears)


@pytest.mark.parametrize("step", SecAgg.steps[1:])
def test_an_aggregator_that_replays_what_it_said_in_an_earlier_round_learns_nothing(step: str) -> None:
    given, before = updates(), dict[str, Arrays]()

    def noting(at: str, child: str, arrays: Arrays) -> Arrays:
        before.update({child: arrays} if at == step else {})
        return arrays

    def hears(at: str, child: str, arrays: Arrays) -> Arrays:
        return before[child] if at == step and child in ("d0", "d1") else arrays

    play(EXCHANGE, given, turn=9, hears=noting, gone={"masked": {"d5"}})
    played = play(EXCHANGE, given, hears=hears, gone={"masked": {"d5"}} if step == "survivors" else None)
    if step == "survivors":  # Whose masked updates came is no secret; that list was the same.
        assert played.failed == {}
        return
    assert set(played.failed) == {"d0", "d1"}
    after = EXCHANGE.steps.index(step) > EXCHANGE.steps.index("masked")
    assert is_mean(played.update, given, NAMES if after else NAMES[2:])


def test_an_aggregator_that_shows_two_lists_of_members_gets_no_masked_update() -> None:
    """Half of the devices hear of one that is not there for the others, to make them believe in two rounds."""

    def hears(step: str, child: str, arrays: Arrays) -> Arrays:
        if step == "peers" and child in ("d0", "d1", "d2"):
            return {"entries": np.concatenate([arrays["entries"][:5], arrays["entries"][4:5] ^ 1])}
        return arrays

    assert "masked" not in sent_until_refused(hears)


def test_a_device_answers_every_step_once() -> None:
    """Another answer to a step that it has taken is not taken: nobody is given shares twice."""
    device, parent = Device("d", "fog"), "fog"
    device.handle(Received(parent, Work(0, "fog@0", 0, steps=6)), 0.0)
    device.handle(Trained(0, "fog#0/0/own", 10), 0.0)
    device.handle(StepComputed(0, 0), 0.0)
    computed: list[int] = []
    for number in range(5):
        for _ in range(2):
            effects = device.handle(Received(parent, Step(0, number, reply_key(parent, 0, number))), 0.0)
            computed += [effect.number for effect in effects if isinstance(effect, ChildStep)]
            device.handle(StepComputed(0, number + 1), 0.0)
    assert computed == [1, 2, 3, 4, 5]
    assert device.exchange is None


# What it wants, and what it refuses.


def test_without_an_identity_there_is_no_exchange() -> None:
    with pytest.raises(ExchangeError, match="nothing to show who it is"):
        first_state(EXCHANGE, updates()["d0"].to_arrays(), "d0", bytes(32))


def test_a_states_secrets_go_when_they_are_not_needed_any_more() -> None:
    """Once the masked update is sent, the device keeps neither it nor what its masks were made of."""
    given = updates(NAMES[:3])
    states = {n: simulated_state(EXCHANGE, u.to_arrays(), n, 1, n) for n, u in given.items()}
    seeds = {name: state["seed"].tobytes() for name, state in states.items()}
    received: dict[str, Arrays] = {name: {} for name in given}
    told: Arrays = {}
    for number in range(4):
        made = {n: child_step(EXCHANGE, number, states[n], received[n]) for n in given}
        states = {n: after.arrays for n, (_, after) in made.items()}
        replies, after = parent_step(EXCHANGE, number, told, {n: sent.arrays for n, (sent, _) in made.items()})
        received, told = {n: reply.arrays for n, reply in replies.items()}, after.arrays
    for name, state in states.items():
        assert not any("vector" in key for key in state)
        assert all(seeds[name] not in array.tobytes() for array in state.values())


@pytest.mark.parametrize(
    ("update", "why"),
    [
        (Update({"delta": np.array([1.0, np.nan])}, {"delta": 1.0}), "not finite"),
        (Update({"delta": np.ones(2)}, {"delta": 101.0}), "is above 100"),
        (Update({"delta": np.ones(2)}, {"delta": 4e-6}), "is below 0.001 and would be lost in rounding"),
        (Update({"delta": np.ones(2)}, {"delta": 1.0}, count=0), "speaks for 0 devices"),
        (Update({"delta": np.ones(2)}, {"delta": -1.0}), "not finite"),
    ],
)
def test_an_update_that_cannot_be_summed_is_refused_in_a_sentence(update: Update, why: str) -> None:
    given = {name: Update({"delta": np.ones(2)}, {"delta": 1.0}) for name in NAMES} | {"d2": update}
    played = play(EXCHANGE, given)
    assert why in played.failed["d2"]
    assert played.update.count == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "secagg(threshold=0.4)",
            "Parameter 'threshold' of exchange 'secagg' is 0.4; it must be at least 0.5 and below 1",
        ),
        ("secagg(bits=24)", "it must be 16, 32 or 64"),
        ("secagg(minimum=1)", "it must be at least 2"),
        ("secagg(clip=0.0)", "it must be at least 1e-30"),
        ("secagg(clip=1e999)", "is inf; it must be a finite number at least 1e-30 and at most 1e+30"),
        ("secagg(clip=1e300)", "it must be at least 1e-30 and at most 1e+30"),
        ("secagg(weight=1e300)", "at most 1e+12"),
        ("secagg(treshold=0.6)", "did you mean 'threshold'"),
        ('secagg(bits="many")', "it wants an int"),
        ("secag", "did you mean 'secagg'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        make_exchange(text)


def test_a_cohort_that_it_has_no_room_for_is_refused() -> None:
    SecAgg(bits=32).check_cohort(500)
    with pytest.raises(ExchangeError, match="A ring of 16 bits leaves each of 500 devices"):
        SecAgg(bits=16).check_cohort(500)


def test_what_is_given_twice_is_refused() -> None:
    for text in ("secagg(threshold=0.7)", "secagg(0.7)"):
        with pytest.raises(ValueError, match=r"threshold.* twice"):
            make_exchange(text, threshold=0.9)


def test_a_name_with_parameters_makes_it() -> None:
    assert make_exchange("secagg(0.75, bits=64)", minimum=4) == SecAgg(threshold=0.75, bits=64, minimum=4)


def test_a_parent_cannot_leave_the_exchange_out() -> None:
    device = Device("d", "fog", demands=6)
    for steps in (0, 5):
        (sent,) = device.handle(Received("fog", Work(0, "fog@0", 0, steps=steps)), 0.0)
        assert isinstance(sent, Send)
        assert isinstance(sent.message, Report)
        assert sent.message.update is None
        assert "the job has 6" in (sent.message.failure or "")
    assert any(
        isinstance(effect, Train) for effect in device.handle(Received("fog", Work(0, "fog@0", 0, steps=6)), 0.0)
    )


def test_what_a_device_says_beside_the_steps_tells_neither_examples_nor_loss() -> None:
    device = Device("d", "fog", demands=1)
    device.handle(Received("fog", Work(0, "fog@0", 0, steps=1)), 0.0)
    device.handle(Trained(0, "fog#0/0/own", 1234, 0.5), 0.0)
    effects = device.handle(StepComputed(0, 0), 0.0)
    (report,) = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Report)]
    assert (report.samples, report.loss_rms, report.failure) == (0, None, None)
    assert report.update == "fog#0"


def test_a_code_that_cannot_be_read_keeps_who_sends_it_out() -> None:
    """It stands in the layout, which nobody has masked."""
    layout = Layout.of(Update({"delta": np.ones(2)}, {"delta": 1.0}, code=b"nonsense"))
    with pytest.raises(ExchangeError, match="what it says of its code cannot be read"):
        SecAgg().form({"layout": np.frombuffer(layout.text, np.uint8)})
