"""Asking the tier above: the request never fails, never waits too long, and no sample leaves without consent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.inference.card import Card, Cascade, Scores, Tensor
from fogline.serving.cascade.answering import answer
from fogline.serving.cascade.breaker import Breaker, BreakerSettings
from fogline.serving.cascade.offloader import Offloader, OffloadResult
from fogline.serving.cascade.wire import (
    HOPS,
    LARGEST,
    OffloadAnswer,
    OffloadedRows,
    packed,
    read_answer,
    read_ask,
    values,
)
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.assembly import hooks
from fogline.serving.settings import Settings
from tests.patience import PATIENCE

Arrays = Mapping[str, npt.NDArray[Any]]
OWN = {"y": np.array([[9.0, 0.0], [0.1, 0.0], [0.0, 9.0], [0.0, 0.2]], np.float32)}
X = {"x": np.arange(8, dtype=np.float32).reshape(4, 2)}
BETTER = np.array([[-5.0, 5.0], [5.0, -5.0]], np.float32)


def card(model: str = "small", to: str = "big", threshold: float = 0.9) -> Card:
    return Card(
        model=model,
        version=7,
        created=0.0,
        inputs=(Tensor("x", "FP32", (-1, 2)),),
        outputs=(Tensor("y", "FP32", (-1, 2)),),
        scores=Scores("y"),
        cascade=Cascade(to, threshold),
    )


class Parent:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, reply: bytes | BaseException | None = None) -> None:
        self.asked: list[bytes] = []
        self._reply = reply

    async def send(self, ask: bytes, seconds: float) -> bytes:
        self.asked.append(ask)
        if self._reply is None:
            await asyncio.Event().wait()
        if isinstance(self._reply, BaseException):
            raise self._reply
        assert self._reply is not None
        return self._reply


def good(scores: Any = BETTER, name: str = "y") -> bytes:
    return packed(OffloadAnswer(values({name: np.asarray(scores)}), "fog", "big", 12))


def improve(parent: Parent, **settings: Any) -> OffloadResult:
    offloader = Offloader(card(), parent.send, settings.pop("breaker", Breaker()), **({"consent": True} | settings))
    unsure = offloader.unsure(OWN)
    assert unsure is not None
    return asyncio.run(asyncio.wait_for(offloader.improve(X, OWN, unsure), PATIENCE))


def test_only_unsure_rows_go_up_and_their_answers_come_into_place() -> None:
    parent = Parent(good())
    found = improve(parent)
    asked, sent = read_ask(parent.asked[0])
    assert (asked.model, asked.hops, asked.left_ms) == ("big", 1, 300)
    assert sent["x"].tolist() == X["x"][[1, 3]].tolist()
    assert found.outputs["y"].tolist() == [OWN["y"][0].tolist(), [-5, 5], OWN["y"][2].tolist(), [5, -5]]
    assert (found.tier, found.model, found.version, found.offloaded, found.why) == ("fog", "big", 12, 2, "")
    assert OWN["y"][1].tolist() == [np.float32(0.1), 0.0], "the device's own outputs stay as they are"


def test_a_sure_model_asks_nobody() -> None:
    offloader = Offloader(card(threshold=0.5), Parent().send, Breaker())
    assert offloader.unsure(OWN) is None
    assert offloader.unsure({"y": np.zeros((0, 2), np.float32)}) is None
    assert Offloader(card(), Parent().send, Breaker()).unsure({"y": OWN["y"][:1]}) is None
    bare = msgspec.structs.replace(card(), scores=None)
    assert Offloader(bare, Parent().send, Breaker()).unsure(OWN) is None


def test_without_consent_nothing_is_sent_and_that_is_the_default() -> None:
    parent = Parent(good())
    offloader = Offloader(card(), parent.send, Breaker())
    found = asyncio.run(offloader.improve(X, OWN, np.array([1])))
    assert not parent.asked
    assert found.outputs is OWN
    assert (found.tier, found.model, found.version, found.offloaded) == ("device", "small", 7, 0)
    assert found.why == "Samples may not leave this machine."


def test_a_parent_that_hangs_costs_the_deadline_and_no_more() -> None:
    found = improve(Parent(None), deadline=0.05)
    assert found.outputs is OWN
    assert "took longer than 50 ms" in found.why


def test_a_parent_that_will_not_be_cancelled_is_not_waited_for() -> None:
    class Stubborn(Parent):
        async def send(self, ask: bytes, seconds: float) -> bytes:
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue
            return b""

    async def run() -> OffloadResult:
        offloader = Offloader(card(), Stubborn().send, Breaker(), consent=True, deadline=0.05)
        try:
            return await asyncio.wait_for(offloader.improve(X, OWN, np.array([1])), PATIENCE)
        finally:
            released.set()

    released = asyncio.Event()
    assert "took longer" in asyncio.run(run()).why


@pytest.mark.parametrize(
    "reply",
    [
        ConnectionResetError("gone"),
        TimeoutError(),
        asyncio.CancelledError(),
        ValueError("a bug"),
        b"",
        b"\xc1nonsense",
        bytes(LARGEST + 1),
        packed(OffloadAnswer(error="There is no model 'big' here.")),
        packed(OffloadAnswer()),
        good(BETTER[:1]),
        good(np.zeros((3, 2), np.float32)),
        good(np.zeros((2, 3), np.float32)),
        good(BETTER, name="z"),
        good(np.array([[np.nan, 1], [1, 2]], np.float32)),
        good(np.array([[np.inf, 1], [1, 2]], np.float32)),
        good(np.array([[b"a", b"b"], [b"c", b"d"]], object)),
    ],
)
def test_failures_and_nonsense_leave_the_devices_answer_and_say_why(reply: bytes | BaseException) -> None:
    breaker = Breaker(BreakerSettings(least=1))
    found = improve(Parent(reply), breaker=breaker)
    assert found.outputs is OWN
    assert (found.tier, found.offloaded) == ("device", 0)
    assert found.why.strip()
    assert breaker.state == "open", "nonsense counts as a failure"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=6))
def test_no_damage_to_an_answer_reaches_the_request(place: int, damage: bytes) -> None:
    reply = bytearray(good())
    start = place % len(reply)
    reply[start : start + len(damage)] = damage
    found = improve(Parent(bytes(reply)))
    assert found.outputs["y"].shape == (4, 2)
    assert np.isfinite(found.outputs["y"]).all()
    assert found.outputs["y"][[0, 2]].tolist() == OWN["y"][[0, 2]].tolist(), "sure rows are never touched"


def test_a_model_that_is_missing_above_keeps_no_other_from_its_own() -> None:
    async def send(ask: bytes, seconds: float) -> bytes:
        return good() if read_ask(ask)[0].model == "big" else packed(OffloadAnswer(error="Model gone is not here."))

    made = hooks(Settings(consent=True), send)

    async def ask(to: str) -> str:
        offloader = made.offloader(card(to=to))
        assert offloader is not None
        return (await offloader.improve(X, OWN, np.array([1, 3]), 1.0, 0)).why

    async def scene() -> None:
        for _ in range(10):
            await ask("gone")
        assert "left alone" in await ask("gone")
        assert not await ask("big")

    asyncio.run(scene())


def test_inputs_that_the_model_above_refuses_are_not_held_against_it() -> None:
    """A client that sends nonsense again and again must not keep the others from the tier above."""

    async def infer(model: str, inputs: Arrays, left: float, hops: int) -> OffloadResult:
        if inputs["x"].min() < 0:
            raise ProtocolError("The model does not take such inputs: index -1 is out of bounds.")
        return OffloadResult({"y": np.tile(BETTER[:1], (len(inputs["x"]), 1))}, "fog", "big", 12)

    async def main() -> None:
        breaker = Breaker()
        small = Offloader(card(), lambda ask, seconds: answer(ask, infer), breaker, consent=True, deadline=PATIENCE)
        unsure = small.unsure(OWN)
        assert unsure is not None
        for _ in range(100):
            found = await small.improve({"x": -X["x"] - 1}, OWN, unsure)
            assert (found.tier, found.offloaded) == ("device", 0)
            assert "takes no such inputs" in found.why
            assert "out of bounds" in found.why
        assert breaker.state == "closed"
        assert (await small.improve(X, OWN, unsure)).tier == "fog"

    asyncio.run(main())


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_inputs_without_a_finite_answer_are_not_held_against_the_model_above(bad: float) -> None:
    parent, breaker = Parent(good(np.array([[np.nan, 1], [1, 2]], np.float32))), Breaker(BreakerSettings(least=1))
    offloader = Offloader(card(), parent.send, breaker, consent=True)
    inputs = {"x": np.where(np.arange(8).reshape(4, 2) == 3, np.float32(bad), X["x"])}
    for _ in range(3):
        found = asyncio.run(offloader.improve(inputs, OWN, np.array([1, 3])))
        assert found.outputs is OWN
        assert "no finite answer to such inputs" in found.why
    assert (len(parent.asked), breaker.state) == (3, "closed")


def test_a_question_that_cannot_be_read_is_not_held_against_the_tier_that_says_so() -> None:
    async def infer(model: str, inputs: Arrays, left: float, hops: int) -> OffloadResult:
        raise AssertionError

    asked = packed(OffloadedRows("big", "1", (*values(X), *values(X)), 300))  # One name twice.
    told, _ = read_answer(asyncio.run(answer(asked, infer)))
    assert told.refused
    assert "must have names of their own" in told.error


def test_a_sample_that_is_too_large_for_a_message_is_not_sent() -> None:
    parent, breaker = Parent(good()), Breaker(BreakerSettings(least=1))
    offloader = Offloader(card(), parent.send, breaker, consent=True)
    large = {"x": np.zeros((4, LARGEST), np.uint8)}
    found = asyncio.run(offloader.improve(large, OWN, np.array([1])))
    assert "single sample is larger" in found.why
    assert (parent.asked, breaker.state) == ([], "closed")


def test_an_open_breaker_is_not_asked() -> None:
    breaker = Breaker(BreakerSettings(least=1, rest=1000))
    improve(Parent(OSError("down")), breaker=breaker)
    parent = Parent(good())
    assert "left alone" in improve(parent, breaker=breaker).why
    assert not parent.asked


def test_a_request_that_has_climbed_enough_or_has_no_time_stays() -> None:
    async def run(**where: Any) -> str:
        return (
            await Offloader(card(), parent.send, Breaker(), consent=True).improve(X, OWN, np.array([1]), **where)
        ).why

    parent = Parent(good(BETTER[:1]))
    assert "over 4 links" in asyncio.run(run(hops=HOPS))
    assert "no time left" in asyncio.run(run(left=0.0))
    assert asyncio.run(run(hops=HOPS - 1, left=0.2)) == ""
    assert read_ask(parent.asked[0])[0].hops == HOPS
    assert read_ask(parent.asked[0])[0].left_ms == 160, "the rest is for our own answer"


def test_of_a_large_batch_as_many_rows_go_up_as_fit() -> None:
    class Echo(Parent):
        async def send(self, ask: bytes, seconds: float) -> bytes:
            rows = len(read_ask(ask)[1]["x"])
            return good(np.tile(BETTER[:1], (rows, 1)))

    big = {"x": np.zeros((8, 100_000), np.float32)}
    own = {"y": np.zeros((8, 2), np.float32)}
    offloader = Offloader(card(), Echo().send, Breaker(), consent=True)
    found = asyncio.run(offloader.improve(big, own, np.arange(8)))
    assert found.offloaded == 5
    assert found.why == "Only 5 of 8 unsure rows fit into one message."
    assert found.outputs["y"][:, 1].tolist() == [5.0] * 5 + [0.0] * 3
    huge = {"x": np.zeros((8, 1_000_000), np.float32)}
    assert asyncio.run(offloader.improve(huge, own, np.arange(8))).offloaded == 0


# Both sides together


def test_three_tiers_answer_in_turn_and_keep_time_and_hops() -> None:
    seen: list[tuple[str, float, int]] = []

    async def cloud(model: str, inputs: Arrays, left: float, hops: int) -> OffloadResult:
        seen.append((model, left, hops))
        return OffloadResult({"y": np.tile(np.float32([7, -7]), (len(inputs["x"]), 1))}, "cloud", "huge", 3)

    async def fog(model: str, inputs: Arrays, left: float, hops: int) -> OffloadResult:
        seen.append((model, left, hops))
        own = {"y": np.float32([[0, 8], [0, 0.1]])[: len(inputs["x"])]}
        offloader = Offloader(card("big", "huge"), lambda ask, _: answer(ask, cloud), Breaker(), True, tier="fog")
        unsure = offloader.unsure(own)
        assert unsure is not None
        return await offloader.improve(inputs, own, unsure, left, hops)

    offloader = Offloader(card(), lambda ask, _: answer(ask, fog), Breaker(), consent=True, deadline=0.25)
    found = asyncio.run(offloader.improve(X, OWN, np.array([1, 3])))
    assert [(model, hops) for model, _, hops in seen] == [("big", 1), ("huge", 2)]
    assert seen[1][1] <= seen[0][1] <= 0.25
    assert found.outputs["y"][1].tolist() == [0, 8]
    assert found.outputs["y"][3].tolist() == [7, -7]
    assert (found.tier, found.model, found.version, found.offloaded) == ("cloud", "huge", 3, 2)


def test_the_answering_side_always_answers() -> None:
    async def broken(*_: Any) -> OffloadResult:
        raise RuntimeError("no such model")

    async def slow(*_: Any) -> OffloadResult:
        await asyncio.Event().wait()
        raise AssertionError

    async def large(*_: Any) -> OffloadResult:
        return OffloadResult({"y": np.zeros(LARGEST)}, "fog", "big", 1)

    ask = packed(OffloadedRows("big", "1", values(X), 20))

    def error(ask: bytes, infer: Any) -> str:
        return read_answer(asyncio.run(asyncio.wait_for(answer(ask, infer), PATIENCE)))[0].error

    assert error(ask, broken) == "Model big failed: no such model."
    assert error(ask, slow) == "Model big took longer than 20 ms."
    assert "too large" in error(ask, large)
    assert "cannot be read" in error(b"\xc1", broken)
    assert "refused" in error(bytes(LARGEST + 1), broken)


# The breaker


def test_a_breaker_opens_rests_tries_and_closes() -> None:
    breaker = Breaker(BreakerSettings(least=3, rest=10, longest=30))
    for _ in range(3):
        assert breaker.allows(0)
        breaker.failed(0)
    assert (breaker.state, breaker.allows(9.9)) == ("open", False)
    assert breaker.allows(10)
    assert (breaker.state, breaker.allows(10)) == ("half-open", False), "one trial at a time"
    breaker.failed(11)
    assert not breaker.allows(30.9)
    assert breaker.allows(31), "the second rest is twice as long"
    breaker.succeeded(31, 0.01)
    assert breaker.state == "closed"
    breaker.failed(32)
    breaker.failed(32)
    assert breaker.state == "closed", "what was before is forgotten"


def test_a_slow_parent_is_left_alone_too_and_a_few_failures_are_not_enough() -> None:
    breaker = Breaker(BreakerSettings(slow_seconds=0.1))
    for i in range(100):
        breaker.failed(0) if i % 3 == 0 else breaker.succeeded(0, 0.05)
    assert breaker.state == "closed"
    for _ in range(40):
        breaker.succeeded(0, 0.2)
    assert breaker.state == "open"


def test_a_trial_of_which_nothing_is_heard_lapses() -> None:
    breaker = Breaker(BreakerSettings(least=1, rest=10, longest=30))
    breaker.failed(0)
    assert breaker.allows(10)
    assert not breaker.allows(20)
    assert not breaker.allows(39)
    assert breaker.allows(40)
    breaker.succeeded(40, 0)
    assert breaker.state == "closed"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["ask", "good", "slow", "bad"])), max_size=200))
def test_whatever_happens_a_breaker_lets_somebody_through_in_the_end(events: list[tuple[float, str]]) -> None:
    limits, now = BreakerSettings(), 0.0
    breaker = Breaker(limits)
    for seconds, event in events:
        now += seconds
        if event == "ask":
            breaker.allows(now)
        elif event == "bad":
            breaker.failed(now)
        else:
            breaker.succeeded(now, 0.01 if event == "good" else 1.0)
    # At worst a trial is under way that lapses, and the rest after it.
    assert any(breaker.allows(now + wait) for wait in (0, limits.longest, 2 * limits.longest, 3 * limits.longest))
