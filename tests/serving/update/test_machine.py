"""The state machine of a model on a node, as a function."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.inference.card import Asset
from fogline.registry.release import Probation, Release, Tally, place
from fogline.serving.update.effects import (
    Drop,
    Effect,
    FetchCard,
    FetchFiles,
    Load,
    Recombine,
    Restore,
    SetRetryTimer,
    Swap,
    Try,
)
from fogline.serving.update.events import (
    Announced,
    Broken,
    CardRead,
    Crashed,
    Delayed,
    Event,
    FilesReady,
    LastGoodRestored,
    Loaded,
    NotRestored,
    Passed,
    PersonalPartKept,
    Pulse,
    Recombined,
    RetryDue,
    Revert,
    ServingFailed,
    Stopped,
    Swapped,
    UpdaterStarted,
)
from fogline.serving.update.machine import UpdateMachine
from fogline.serving.update.state import STATES, HeldVersion, ModelOnNode, encode

MODEL = "m"
RULES = Probation(seconds=10, requests=50, longest=100, labels=30)
GOOD = Tally(answers=100, confident=100, confidence=90.0, latency=(0, 0, 100), labels=40, correct=36)


def asset(text: str) -> Asset:
    return Asset(hashlib.sha256(text.encode()).hexdigest(), len(text))


def card(version: int) -> Asset:
    return asset(f"card {version}")


def held(version: int, number: int = 0) -> HeldVersion:
    return HeldVersion(card(version), version, number, (asset(f"weights {version}"), asset("graph")))


def release(number: int, version: int, **changes: Any) -> Release:
    plain: dict[str, Any] = {"salt": "s", "probation": RULES}
    return Release(model=MODEL, number=number, version=version, card=card(version), **(plain | changes))


class Node:
    """A machine with a world around it that does what it is asked, unless told otherwise."""

    def __init__(self, name: str = "n") -> None:
        self.machine = UpdateMachine(name, "device")
        self.state = ModelOnNode(MODEL)
        self.effects: list[Effect] = []
        self.now = 0.0
        self.timers: dict[str, float] = {}
        self.loaded: set[int] = set()
        self.live: int | None = None
        self.said: list[tuple[str, int, str]] = []
        self.asked: list[Effect] = []

    def handle(self, event: Event) -> None:
        self.state, effects = self.machine.handle(self.state, event, self.now)
        for effect in effects:
            if isinstance(effect, SetRetryTimer):
                self.timers[effect.timer] = effect.at
            else:
                self.effects.append(effect)

    def settle(self) -> None:
        self.said += [(news.what, news.version, news.why) for news in self.state.news]
        self.state = STATES.decode(encode(self.state))
        self.state = type(self.state)(
            **{
                name: getattr(self.state, name)
                for name in ModelOnNode.__struct_fields__
                if name not in ("news", "trash")
            }
        )

    def answer(self, effect: Effect) -> Event | None:
        """What becomes of an effect if all goes well."""
        match effect:
            case FetchCard(attempt=attempt, card=wanted):
                version = next(v for v in range(100) if card(v) == wanted)
                return CardRead(attempt, held(version), (asset(f"delta {version}").digest,))
            case FetchFiles(attempt=attempt):
                return FilesReady(attempt)
            case Try(attempt=attempt):
                return Passed(attempt)
            case Load(attempt=attempt, held=one):
                self.loaded.add(one.version)
                return Loaded(attempt)
            case Swap(attempt=attempt, held=one):
                if one.version not in self.loaded:
                    return ServingFailed(attempt, "it is not loaded")
                self.put(one.version)
                return Swapped(attempt)
            case Restore(held=one) if one == self.state.current:
                self.put(one.version)
                return LastGoodRestored(one.card.digest)
            case Recombine(held=one) if one == self.state.current:
                self.put(one.version)
                return Recombined(one.card.digest)
            case Drop(version=version):
                self.loaded.discard(version)
                self.live = None if self.live == version else self.live
            case _:
                pass
        return None

    def put(self, version: int) -> None:
        self.loaded = (self.loaded - {self.live}) | {version}
        self.live = version

    def carry_out(self, **faults: Event | None) -> None:
        """All effects; ``faults``: by the effect's name, what happens instead of it."""
        while self.effects:
            effect = self.effects.pop(0)
            self.asked.append(effect)
            name = type(effect).__name__
            event = faults[name] if name in faults else self.answer(effect)
            if event is not None:
                self.handle(event)
        self.settle()

    def restart_server(self) -> None:
        state = self.state
        self.live = None if state.current is None else state.current.version
        self.loaded = {one.version for one in (state.current, state.shadow) if one is not None}

    def restart(self, clean: bool = False) -> None:
        if clean:
            self.handle(Stopped())
        self.effects, self.timers, self.now = [], {}, 0.0
        self.state = STATES.decode(encode(self.state))
        self.handle(UpdaterStarted())
        self.restart_server()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer, at in self.timers.items() if at <= self.now]:
            del self.timers[timer]
            self.handle(RetryDue(timer))  # type: ignore[arg-type]

    def pulse(self, version: int, tally: Tally = GOOD) -> None:
        self.handle(Pulse(version, tally))

    def prove(self, version: int) -> None:
        """The probation goes well."""
        self.pulse(version)
        self.wait(11)
        self.carry_out()

    def serve(self, *versions: int) -> None:
        """Install versions one after the other."""
        for version in versions:
            number = 1 if self.state.release is None else self.state.release.number + 1
            self.handle(Announced(release(number, version)))
            self.carry_out()
            self.prove(version)
        assert self.state.current is not None
        assert self.state.current.version == versions[-1]
        assert self.state.watch is None
        self.said.clear()
        self.asked.clear()

    def kinds(self) -> list[str]:
        return [type(effect).__name__ for effect in self.asked]

    @property
    def versions(self) -> tuple[int | None, int | None]:
        state = self.state
        return (
            None if state.current is None else state.current.version,
            None if state.previous is None else state.previous.version,
        )


def test_a_release_is_fetched_tried_loaded_swapped_watched_and_kept() -> None:
    node = Node()
    node.handle(Announced(release(1, 1)))
    node.carry_out()
    assert node.kinds() == ["FetchCard", "FetchFiles", "Try", "Load", "Swap"]
    assert node.live == 1
    assert node.state.good is None
    node.prove(1)
    assert node.state.good == held(1, 1)
    assert [what for what, _, _ in node.said] == ["probation", "committed"]


def test_only_the_version_before_is_kept_and_the_files_of_older_ones_go() -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(Announced(release(3, 3)))
    while not isinstance(node.effects[0], Swap):
        node.handle(node.answer(node.effects.pop(0)))  # type: ignore[arg-type]
    assert node.versions == (2, 1)
    node.handle(node.answer(node.effects.pop(0)))  # type: ignore[arg-type]
    assert node.versions == (3, 2)
    assert {asset("weights 1").digest, card(1).digest} <= set(node.state.trash)
    assert asset("graph").digest not in node.state.trash


@pytest.mark.parametrize(
    ("effect", "event"),
    [
        ("FetchCard", ServingFailed(2, "it is none")),
        ("Try", ServingFailed(2, "wrong answers")),
        ("Load", ServingFailed(2, "out of memory")),
        ("Swap", ServingFailed(2, "the server ended")),
    ],
)
def test_a_version_that_fails_before_it_answers_is_refused_once(effect: str, event: ServingFailed) -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out(**{effect: event})
    node.carry_out()
    assert (node.versions, node.live) == ((1, None), 1)
    assert node.said == [("failed", 2, event.why)] or node.said == [("failed", 0, event.why)]
    assert card(2).digest not in node.state.needed
    node.asked.clear()
    node.handle(Announced(release(2, 2)))
    node.restart()
    node.carry_out()
    assert not node.asked
    node.handle(Announced(release(3, 2)))
    node.carry_out()
    assert node.live == 2


def test_a_card_of_another_version_than_the_release_says_is_refused() -> None:
    node = Node()
    node.handle(Announced(release(1, 1)))
    node.carry_out(FetchCard=CardRead(1, HeldVersion(card(1), 7, 1)))
    assert node.said[0][0] == "failed"
    assert "version 7" in node.said[0][2]


WORSE = {
    "errors": Tally(answers=60, errors=10),
    "slow": Tally(answers=60, latency=(0,) * 12 + (60,)),
    "unsure": Tally(answers=60, confident=60, confidence=36.0),
    "wrong": Tally(answers=60, labels=40, correct=20),
}


@pytest.mark.parametrize("fault", WORSE)
def test_a_worse_version_is_sent_back_with_a_reason(fault: str) -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(Announced(release(3, 3)))
    node.carry_out()
    node.pulse(3, WORSE[fault])
    node.wait(11)
    node.carry_out()
    assert (node.versions, node.live, node.loaded) == ((2, None), 2, {2})
    (_, _, _), (what, version, why) = node.said
    assert (what, version) == ("reverted", 3)
    assert why
    assert node.state.refuses(3)


def test_errors_send_it_back_before_the_probation_is_over() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    node.pulse(2, Tally(answers=3, errors=1))
    node.carry_out()
    assert node.live == 2  # One in fifty may fail.
    node.pulse(2, Tally(answers=3, errors=1))
    node.carry_out()
    assert node.live == 1


def test_the_first_version_is_only_judged_by_errors() -> None:
    node = Node()
    node.handle(Announced(release(1, 1)))
    node.carry_out()
    node.pulse(1, WORSE["slow"] + WORSE["wrong"] + WORSE["unsure"])
    node.wait(11)
    node.carry_out()
    assert node.state.watch is None
    node = Node()
    node.handle(Announced(release(1, 1)))
    node.carry_out()
    node.pulse(1, WORSE["errors"])
    node.carry_out()
    assert (node.versions, node.live) == ((None, None), None)


def test_without_requests_a_probation_ends_after_a_long_time() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    node.wait(11)
    assert node.state.watch is not None
    node.wait(90)
    assert node.state.watch is None


def test_labels_that_come_late_count_for_the_version_that_answered() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    before = node.state.baseline.tally.labels
    node.pulse(1, Tally(labels=5, correct=5))
    assert node.state.baseline.tally.labels == before + 5


def test_two_crashes_in_probation_send_it_back_and_the_server_comes_back_with_the_last_good_one() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    node.handle(Crashed("SIGSEGV"))
    node.restart_server()
    assert node.live == 2
    node.handle(Crashed("SIGSEGV"))
    node.restart_server()
    node.carry_out()
    assert node.live == 1
    assert "SIGSEGV" in node.said[-1][2]


def test_a_good_version_that_ends_the_server_again_and_again_gives_way_until_it_is_tried_anew() -> None:
    node = Node()
    node.serve(1, 2)
    for _ in range(2):
        node.handle(Crashed("SIGBUS"))
        node.restart_server()
    node.pulse(2, GOOD)
    for _ in range(2):
        node.handle(Crashed("SIGBUS"))
        node.restart_server()
    assert (node.live, node.state.attempt) == (2, None)  # It answered in between.
    node.handle(Crashed("SIGBUS"))
    node.restart_server()
    assert node.live == 1
    node.carry_out(Try=ServingFailed(node.state.attempts, "it was ended by SIGBUS in its trial"))
    assert (node.live, node.versions) == (1, (1, None))
    assert node.state.refuses(2)
    assert [what for what, version, _ in node.said if version == 2][-2:] == ["reverted", "failed"]


def test_the_only_version_stays_however_often_the_server_ends() -> None:
    node = Node()
    node.serve(1)
    for _ in range(8):
        node.handle(Crashed("SIGBUS"))
        node.restart_server()
        node.settle()
    assert node.live == 1
    assert [(what, why) for what, _, why in node.said if what == "alarm"] == [
        ("alarm", "the server ended 3 times in a row: SIGBUS")
    ]


def test_two_power_cuts_in_probation_send_it_back_but_orderly_stops_do_not() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    for _ in range(5):
        node.restart(clean=True)
    assert node.live == 2
    node.restart()
    assert node.live == 2
    node.restart()
    assert node.live == 1


def test_power_cuts_do_not_take_the_only_version() -> None:
    node = Node()
    node.handle(Announced(release(1, 1)))
    node.carry_out()
    for _ in range(5):
        node.restart()
    assert node.live == 1
    node.prove(1)
    assert node.state.good is not None


def test_a_shadow_that_takes_the_server_down_goes() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2, mode="shadow")))
    node.carry_out()
    for _ in range(2):
        node.handle(Crashed("SIGSEGV"))
        node.restart_server()
    node.carry_out()
    assert (node.live, node.loaded) == (1, {1})
    assert node.state.refuses(2)


def test_a_rollback_is_quick_and_needs_no_probation() -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(Announced(release(3, 1)))
    node.carry_out()
    assert node.kinds() == ["Load", "Swap"]
    assert (node.live, node.state.watch, node.versions) == (1, None, (1, None))
    assert node.said == [("committed", 1, "")]


def test_a_version_on_probation_is_called_back_at_once() -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(Announced(release(3, 3)))
    node.carry_out()
    node.handle(Announced(release(4, 3, before=card(2), state="aborted")))
    node.carry_out()
    assert node.live == 2
    assert [what for what, _, _ in node.said] == ["probation", "reverted", "committed"]


def test_a_newer_version_waits_for_the_end_of_the_probation() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    node.handle(Announced(release(3, 3)))
    node.carry_out()
    assert node.live == 2
    node.prove(2)
    assert node.live == 3
    assert node.versions == (3, 2)


def test_a_newer_release_takes_the_place_of_one_on_its_way() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.handle(Announced(release(3, 3)))
    node.handle(CardRead(2, held(2)))
    node.carry_out()
    assert node.live == 3
    assert not [news for news in node.said if news[1] == 2]


def test_rings_grow_and_those_outside_keep_the_version_before() -> None:
    share = place("n", "s")
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2, share=share * 0.99, state="rolling", before=card(1))))
    node.carry_out()
    assert node.live == 1
    node.handle(Announced(release(3, 2, share=share * 1.01, state="rolling", before=card(1))))
    node.carry_out()
    node.prove(2)
    assert node.live == 2
    node.handle(Announced(release(4, 2, share=1.0)))
    node.carry_out()
    assert node.said[-1] == ("committed", 2, "")
    assert node.kinds().count("Swap") == 1


def test_who_is_outside_the_ring_and_has_nothing_gets_the_version_before() -> None:
    node = Node()
    node.handle(Announced(release(2, 2, share=0.0, before=card(1))))
    node.carry_out()
    assert node.live == 1


def test_a_pause_leaves_everybody_as_they_are() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2, state="rolling")))
    node.handle(Announced(release(3, 2, state="paused")))
    node.carry_out()
    assert (node.live, node.state.attempt) == (1, None)
    node.handle(Announced(release(4, 2, state="rolling")))
    node.carry_out()
    node.handle(Announced(release(5, 2, state="paused", before=card(1))))
    node.carry_out()
    assert node.live == 2
    node.prove(2)
    assert node.live == 2


def test_older_numbers_are_ignored_until_the_keys_are_new() -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(Announced(release(1, 1)))
    node.carry_out()
    assert node.live == 2
    node.handle(Announced(release(1, 1), epoch=2))
    node.carry_out()
    assert node.live == 1


def test_other_tiers_and_versions_that_nobody_approved_are_not_served() -> None:
    node = Node()
    node.handle(Announced(release(1, 1, tiers=("fog",))))
    node.handle(Announced(release(2, 2), allowed=frozenset()))
    node.carry_out()
    assert node.live is None
    node.handle(Announced(release(2, 2), allowed=frozenset({card(2).digest})))
    node.carry_out()
    assert node.live == 2


def test_a_shadow_answers_beside_and_may_then_be_swapped_in() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2, mode="shadow")))
    node.carry_out()
    assert (node.live, node.loaded, node.said) == (1, {1, 2}, [("shadowing", 2, "")])
    node.asked.clear()
    node.handle(Announced(release(3, 2)))
    node.carry_out()
    assert node.kinds() == ["Drop", "Load", "Swap"]
    assert node.live == 2
    assert node.state.shadow is None
    assert node.state.watch is not None


def test_a_shadow_goes_when_the_release_is_another() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2, mode="shadow")))
    node.carry_out()
    node.handle(Announced(release(3, 1)))
    node.carry_out()
    assert (node.live, node.loaded, node.state.shadow) == (1, {1}, None)


def test_what_cannot_be_had_is_told_once_and_tried_again() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    absent = Delayed(2, "absent", "the parent has it not")
    for _ in range(5):
        node.carry_out(FetchFiles=absent)
        node.wait(400)
    assert [news for news in node.said if news[0] == "alarm"] == [("alarm", 2, "the parent has it not")]
    node.carry_out()
    assert node.live == 2


def test_damaged_files_are_fetched_again() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out(Try=Delayed(2, "storage", "damaged"))
    assert node.state.attempt is not None
    assert node.state.attempt.step == "files"
    node.wait(10)
    node.carry_out()
    assert node.live == 2


def test_an_operator_sends_a_node_back_and_it_stays_there() -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(Revert("it smells"))
    node.carry_out()
    assert (node.live, node.said) == (1, [("reverted", 2, "it smells")])
    node.handle(Announced(release(2, 2)))
    node.restart()
    node.carry_out()
    assert node.live == 1
    node.handle(Announced(release(3, 3)))
    node.carry_out()
    assert node.live == 3
    node.handle(Revert("this too"))
    node.carry_out()
    assert node.live == 1


def test_a_server_that_does_not_take_the_last_good_version_is_asked_again() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    node.pulse(2, WORSE["errors"])
    for _ in range(3):
        node.carry_out(Restore=NotRestored(card(1).digest, "it is busy"))
        node.wait(400)
    assert [what for what, _, _ in node.said] == ["probation", "reverted", "alarm"]
    node.carry_out()
    assert node.live == 1
    assert not node.state.restoring


def test_a_release_that_came_while_the_last_good_version_was_brought_back_is_followed_after_a_crash() -> None:
    node = Node()
    node.serve(1)
    node.handle(Announced(release(2, 2)))
    node.carry_out()
    node.pulse(2, WORSE["errors"])
    node.carry_out(Restore=None)
    node.handle(Announced(release(3, 3)))
    assert node.state.attempt is None
    node.handle(Crashed("SIGSEGV"))
    node.restart_server()
    node.carry_out()
    assert node.live == 3


def test_a_version_whose_files_are_gone_gives_way_to_the_one_before_and_is_fetched_again() -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(UpdaterStarted(frozenset({asset("weights 2").digest})))
    node.restart_server()
    assert node.live == 1
    node.carry_out()
    assert node.live == 2


def test_a_good_version_that_cannot_be_loaded_any_more_gives_way_and_is_tried_again() -> None:
    node = Node()
    node.serve(1, 2)
    node.restart_server()
    node.loaded, node.live = set(), None
    node.handle(Broken(2, "its file is damaged"))
    assert node.versions == (1, None)
    node.carry_out(Try=Delayed(3, "storage", "damaged"))
    assert node.live == 1
    node.wait(10)
    node.carry_out()
    assert node.live == 2


def test_the_only_version_is_fetched_again_where_its_files_are_damaged_even_if_its_release_is_refused() -> None:
    node = Node()
    node.serve(1, 2)
    node.handle(Revert("by hand"))
    node.carry_out()
    node.loaded, node.live = set(), None
    node.handle(Broken(1, "its file is damaged"))
    node.carry_out(Try=Delayed(node.state.attempts, "storage", "damaged"))
    node.wait(10)
    node.carry_out()
    assert (node.live, node.state.good) == (1, held(1, 1))


STEPS = (
    *("announce", "announce", "step", "step", "all", "all", "hold", "fail", "good", "wait"),
    *("crash", "kill", "stop", "bad", "old", "revert", "settle", "broken", "personal"),
)


class Chaos(Node):
    """Things go wrong, and answers come late."""

    def __init__(self, data: st.DataObject) -> None:
        super().__init__()
        self.draw = data.draw
        self.number = 0
        self.tried: set[str] = set()
        self.late: Event | None = None
        """The answer to the effect that is being carried out."""

    def deliver(self) -> None:
        late, self.late = self.late, None
        if late is not None:
            self.handle(late)

    def step(self, fail: bool = False) -> None:
        self.deliver()
        if not self.effects:
            return
        effect = self.effects.pop(0)
        if isinstance(effect, FetchCard | FetchFiles | Try):
            attempt = self.state.attempt
            if attempt is not None and attempt.serial == effect.attempt:
                assert not self.state.refuses(attempt.number), "a refused release is tried"
        self.late = self.failure(effect) if fail else self.answer(effect)
        if isinstance(effect, Try) and isinstance(self.late, Passed):
            self.tried.add(effect.held.card.digest)

    def failure(self, effect: Effect) -> Event | None:
        match effect:
            case FetchCard(attempt=attempt):
                return Delayed(attempt, "away", "away")
            case FetchFiles(attempt=attempt) | Try(attempt=attempt):
                return self.draw(
                    st.sampled_from((ServingFailed(attempt, "bad"), Delayed(attempt, "storage", "damaged")))
                )
            case Load(attempt=attempt) | Swap(attempt=attempt):
                if self.draw(st.booleans()):
                    self.answer(effect)  # It was done, but nobody heard of it.
                return ServingFailed(attempt, "bad")
            case Restore(held=one):
                return NotRestored(one.card.digest, "bad")
            case Recombine(held=one):
                return Recombined(one.card.digest, "it does not fit")
            case _:
                return self.answer(effect)

    def crash(self) -> None:
        self.handle(Crashed("SIGSEGV"))
        self.restart_server()
        if isinstance(self.late, Loaded | Swapped):
            self.late = ServingFailed(self.late.attempt, "the server ended")
        elif isinstance(self.late, LastGoodRestored):
            self.late = NotRestored(self.late.card, "the server ended")

    def any_release(self, number: int) -> Release:
        draw = self.draw
        return release(
            number,
            draw(st.integers(1, 4)),
            share=draw(st.sampled_from((0.0, 1.0, 1.0, 1.0))),
            mode=draw(st.sampled_from(("live", "live", "shadow"))),
            state=draw(st.sampled_from(("rolling", "rolling", "rolling", "paused", "aborted"))),
            before=draw(st.sampled_from((None, card(1), card(2)))),
        )

    def act(self, what: str) -> None:
        match what:
            case "announce":
                self.number += 1
                self.handle(Announced(self.any_release(self.number)))
            case "old" if self.number > 1:
                self.handle(Announced(self.any_release(self.draw(st.integers(1, self.number - 1)))))
            case "all":
                while self.effects:
                    self.step()
                self.deliver()
            case "hold":
                self.step()
            case "step" | "fail":
                self.step(fail=what == "fail")
                self.deliver()
            case "crash":
                self.crash()
            case "kill" | "stop":
                self.late = None
                self.restart(clean=what == "stop")
            case "good" | "bad" if self.live is not None:
                self.pulse(self.live, GOOD if what == "good" else WORSE["errors"])
            case "wait":
                self.wait(self.draw(st.sampled_from((3.0, 11.0, 200.0))))
            case "revert":
                self.handle(Revert("by hand"))
            case "settle":
                self.settle()
            case "personal":
                self.handle(PersonalPartKept())
            case "broken" if self.live is not None:
                self.crash()
                if self.live is not None:
                    version, self.live = self.live, None
                    self.loaded.discard(version)
                    self.handle(Broken(version, "it is damaged"))
            case _:
                pass

    def check(self, before: ModelOnNode, what: str = "") -> None:
        state = self.state
        if what != "broken":
            assert before.good is None or state.good is not None, "there is no good version any more"
        for one in (state.current, state.previous, state.shadow):
            assert one is None or one.card.digest in self.tried, "a version is kept that did not pass its trial"
        assert self.live is None or card(self.live).digest in self.tried
        kept = [one.card for one in (state.current, state.previous, state.shadow) if one is not None]
        assert len(kept) == len(set(kept))
        assert before.release is None or state.release is not None
        assert before.release is None or state.release.number >= before.release.number  # type: ignore[union-attr]
        assert all(refused.why for refused in state.refused)
        assert not set(state.trash) & state.needed
        assert STATES.decode(encode(state)) == state


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.data())
def test_whatever_happens_in_whatever_order(data: st.DataObject) -> None:
    node = Chaos(data)
    if data.draw(st.booleans()):
        node.serve(1, 2)
        node.number, node.tried = 2, {card(1).digest, card(2).digest}
    for what in data.draw(st.lists(st.sampled_from(STEPS), min_size=10, max_size=50)):
        before = node.state
        node.act(what)
        node.check(before, what)
    for _ in range(60):  # From here on all goes well.
        before = node.state
        node.act("all")
        node.settle()
        node.wait(400)
        node.check(before)
    state = node.state
    assert (state.attempt, state.watch, state.restoring) == (None, None, 0)
    assert node.live == (None if state.current is None else state.current.version)
    assert len(node.loaded - {node.live}) == (state.shadow is not None)
