"""The state machine of one model on one node: which version it serves, and how it gets to another.

Download → trial → load beside → swap → probation → commit; on any failure the node stays with the last good version,
or goes back to it, and does not try that release again. The machine is pure: no clock, file, process or network. Its
state is in the journal before its effects are carried out, and every effect may come again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import replace

from fogline.registry.release import Tally, Tier
from fogline.serving.update import goal as goals
from fogline.serving.update.effects import (
    Abandon,
    Drop,
    Effect,
    FetchCard,
    FetchFiles,
    Load,
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
    Pulse,
    RetryDue,
    Revert,
    ServingFailed,
    Stopped,
    Swapped,
    UpdaterStarted,
)
from fogline.serving.update.goal import ServingGoal
from fogline.serving.update.probation import fault, over
from fogline.serving.update.state import (
    REMEMBERED,
    Attempt,
    Baseline,
    HeldVersion,
    ModelNews,
    ModelOnNode,
    ProbationWatch,
    RefusedRelease,
    Step,
    What,
)

FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds before something that could not be had is tried again: doubled each time."""
STEPS: tuple[Step, ...] = ("card", "files", "trial", "load", "swap")
CRASHES = 2
"""Crashes of the server, or of the node, with which a version is given up;"""
LOOP = 3
"""and those in a row with which one that was good is."""


@dataclass(frozen=True, slots=True)
class UpdateMachine:
    """Decides for one model on one node.

    Args:
        node: the node's name, which decides its place in rings.
        tier: of the node.
    """

    node: str
    tier: Tier

    def handle(self, state: ModelOnNode, event: Event, now: float) -> tuple[ModelOnNode, list[Effect]]:
        """React to what happened at time ``now`` (seconds, of a clock that starts anew with the node)."""
        turn = _Turn(self, state, now)
        turn.react(event)
        after = turn.state
        trash = (set(state.trash) | (state.needed - after.needed)) - after.needed
        if trash != set(state.trash):
            after = replace(after, trash=tuple(sorted(trash)))
        return after, turn.effects


class _Turn:
    """One step of a machine: the state as it changes, and the effects so far."""

    def __init__(self, machine: UpdateMachine, state: ModelOnNode, now: float) -> None:
        self.machine = machine
        self.state = state
        self.now = now
        self.effects: list[Effect] = []

    def react(self, event: Event) -> None:
        match event:
            case UpdaterStarted():
                self.start(event.missing)
            case Stopped():
                self.set(clean=True)
            case Announced():
                self.announced(event)
            case Crashed():
                self.crashed(event.why)
            case Broken():
                self.broken(event)
            case Pulse():
                self.pulse(event)
            case RetryDue(timer="probation"):
                self.judge()
            case RetryDue(timer="restore"):
                if self.state.restoring and self.state.current is not None:
                    self.go_back(self.state.current)
            case RetryDue():
                self.retry()
            case Revert():
                self.revert_by_hand(event.why)
            case LastGoodRestored() | NotRestored():
                self.restored(event)
            case _:
                attempt = self.state.attempt
                if attempt is not None and attempt.serial == event.attempt:
                    self.answer(attempt, event)

    def set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)

    def tell(self, held: HeldVersion | Attempt, what: What, why: str = "") -> None:
        news = ModelNews(held.number, held.version, what, why)
        if news not in self.state.news:
            self.set(news=(*self.state.news, news))

    def refuse(self, number: int, version: int, why: str) -> None:
        if not self.state.refuses(number):
            self.set(refused=(*self.state.refused, RefusedRelease(number, version, why))[-REMEMBERED:])

    # Releases.

    def announced(self, event: Announced) -> None:
        release, state = event.release, self.state
        if state.release is not None and (event.epoch, release.number) < (state.epoch, state.release.number):
            return
        if event.epoch > state.epoch:
            self.set(release=release, epoch=event.epoch, refused=())
        elif state.release is None or release.number > state.release.number:
            self.set(release=release)
        allowed = event.allowed
        self.set(allowed=None if allowed is None else tuple(sorted(allowed & goals.cards(release))))
        self.pursue()

    def pursue(self) -> None:
        """Go for what the newest release says."""
        if self.state.restoring:
            return
        goal = goals.goal(self.state, self.machine.node, self.machine.tier)
        self.adopt_number(goal)
        state = self.state
        if state.watch is not None:
            if goal is None or not goals.calls_back(goal, state):
                return  # What is newer waits for the end of the probation.
            assert state.release is not None
            self.revert(f"release {state.release.number} calls it back", refuse=False)
            self.pursue()
            return
        if state.shadow is not None and goals.retires_shadow(goal, state):
            self.retire_shadow(state.shadow)
        attempt = state.attempt
        if attempt is not None:
            if goal is not None and (attempt.card, attempt.role) == (goal.card, goal.role):
                self.set(attempt=replace(attempt, number=goal.number, why=""))
                return
            if goal is None and attempt.why:
                return  # It is not the release's affair.
            self.abandon()
        if goal is not None and not goals.is_here(goal, state):
            self.begin(goal)

    def adopt_number(self, goal: ServingGoal | None) -> None:
        """The version that is here already is what the newest release wants: nothing is to be done."""
        current, shadow = self.state.current, self.state.shadow
        if goal is None:
            return
        if goal.role == "live" and current is not None and current.card == goal.card:
            if current.number != goal.number:
                current = replace(current, number=goal.number)
                self.set(current=current)
                if self.state.watch is None:
                    self.tell(current, "committed")
        elif goal.role == "shadow" and shadow is not None and shadow.card == goal.card:
            self.set(shadow=replace(shadow, number=goal.number))

    def begin(self, goal: ServingGoal, why: str = "") -> None:
        previous, shadow = self.state.previous, self.state.shadow
        here = next((held for held in (previous, shadow) if held is not None and held.card == goal.card), None)
        self.set(attempts=self.state.attempts + 1)
        attempt = Attempt(
            serial=self.state.attempts,
            number=goal.number,
            card=goal.card,
            role=goal.role,
            step="card" if here is None else "load",
            version=goal.version if here is None else here.version,
            held=None if here is None else replace(here, number=goal.number),
            proven=here is not None and here is previous,
            why=why,
        )
        if shadow is not None and shadow.card == goal.card:
            self.retire_shadow(shadow)
        self.go(attempt)

    def retire_shadow(self, shadow: HeldVersion) -> None:
        self.set(shadow=None, shadow_crashes=0)
        self.effects.append(Drop(shadow.version))

    # The way of an attempt.

    def go(self, attempt: Attempt) -> None:
        """Take the step at which the attempt is."""
        self.set(attempt=attempt)
        held = attempt.held
        if held is None:
            self.effects.append(FetchCard(attempt.serial, attempt.card, attempt.number))
            return
        match attempt.step:
            case "files":
                self.effects.append(FetchFiles(attempt.serial, held))
            case "trial":
                self.effects.append(Try(attempt.serial, held))
            case "swap":
                self.effects.append(Swap(attempt.serial, held))
            case _:
                role = "beside" if attempt.role == "live" else "shadow"
                self.effects.append(Load(attempt.serial, held, role))

    def answer(
        self, attempt: Attempt, event: CardRead | FilesReady | Delayed | Passed | Loaded | Swapped | ServingFailed
    ) -> None:
        """An effect of the attempt has come to its end; what does not belong to its step is late, and too late."""
        match attempt.step, event:
            case _, ServingFailed(why=why):
                self.fail(why)
            case (("card" | "files" | "trial"), Delayed()):
                self.delay(attempt, event)
            case "card", CardRead(held=held, deltas=deltas):
                why = goals.misfit(attempt, held, self.state)
                if why is not None:
                    self.fail(why)
                else:
                    held = replace(held, number=attempt.number)
                    self.go(replace(attempt, step="files", held=held, version=held.version, deltas=deltas))
            case "files", FilesReady():
                step = "load" if attempt.proven else "trial"
                self.go(replace(attempt, step=step, deltas=(), waiting=False, tries=0))
            case "trial", Passed(runtime=runtime):
                self.go(replace(attempt, step="load", held=replace(_known(attempt.held), runtime=runtime)))
            case "load", Loaded():
                if attempt.role == "live":
                    self.go(replace(attempt, step="swap"))
                else:
                    self.shadowed(attempt)
            case "swap", Swapped():
                self.swapped(attempt)
            case _:
                pass

    def delay(self, attempt: Attempt, event: Delayed) -> None:
        tries = attempt.tries + 1
        if event.kind not in ("away", attempt.delayed_by):
            self.tell(attempt, "alarm", event.why)
            attempt = replace(attempt, delayed_by=event.kind)
        step = "files" if attempt.step == "trial" else attempt.step
        self.set(attempt=replace(attempt, step=step, waiting=True, tries=tries))
        self.effects.append(SetRetryTimer("retry", self.now + backoff(tries)))

    def retry(self) -> None:
        attempt = self.state.attempt
        if attempt is not None and attempt.waiting:
            self.go(replace(attempt, waiting=False))

    def abandon(self) -> None:
        """The attempt is not wanted any more."""
        attempt = self.state.attempt
        assert attempt is not None
        self.set(attempt=None)
        self.effects.append(Abandon())
        if attempt.step == "swap" and self.state.current is not None:
            self.go_back(self.state.current)  # Nobody knows how far the swap came.
        if attempt.step in ("load", "swap"):
            self.effects.append(Drop(attempt.version))

    def fail(self, why: str) -> None:
        """The version cannot be served: the node stays with what it has."""
        attempt = self.state.attempt
        assert attempt is not None
        self.abandon()
        if not attempt.why:
            self.refuse(attempt.number, attempt.version, why)
        self.tell(attempt, "failed", why)
        self.pursue()

    def shadowed(self, attempt: Attempt) -> None:
        held = replace(_known(attempt.held), number=attempt.number)
        self.set(shadow=held, attempt=None)
        self.tell(held, "shadowing")

    def swapped(self, attempt: Attempt) -> None:
        held = replace(_known(attempt.held), number=attempt.number)
        before = self.state.current
        if attempt.proven:
            self.set(current=held, previous=None, watch=None, baseline=Baseline(), attempt=None)
            if attempt.why and before is not None:
                self.tell(before, "reverted", attempt.why)
            else:
                self.tell(held, "committed")
            self.pursue()
            return
        assert self.state.release is not None
        watch = ProbationWatch(self.state.release.probation, self.now)
        self.set(current=held, previous=before, watch=watch, attempt=None)
        self.tell(held, "probation")
        self.effects.append(SetRetryTimer("probation", self.now + watch.rules.seconds))
        self.pursue()

    # Probation.

    def pulse(self, pulse: Pulse) -> None:
        state = self.state
        current, good, watch = state.current, state.good, state.watch
        if good is not None and pulse.version == good.version:
            # Also labels of answers that it gave before the swap.
            self.set(baseline=state.baseline.plus(pulse.tally), crashes=0 if pulse.tally.answers else state.crashes)
        elif watch is not None and current is not None and pulse.version == current.version:
            self.set(watch=replace(watch, tally=watch.tally + pulse.tally))
            self.judge()

    def judge(self) -> None:
        """Commit, revert, or watch on."""
        watch = self.state.watch
        if watch is None:
            return
        final = over(watch.rules, self.now - watch.since, watch.tally)
        before = self.state.baseline.tally if self.state.previous is not None else Tally()
        why = fault(watch.rules, watch.tally, before, final)
        if why is not None:
            self.revert(why)
            self.pursue()
        elif final:
            self.commit(watch)
        else:
            ends = [watch.since + seconds for seconds in (watch.rules.seconds, watch.rules.longest)]
            self.effects.append(SetRetryTimer("probation", next((at for at in ends if at > self.now), max(ends))))

    def commit(self, watch: ProbationWatch) -> None:
        self.set(watch=None, baseline=Baseline(recent=watch.tally), crashes=0)
        self.tell(_known(self.state.current), "committed")
        self.pursue()

    def revert(self, why: str, refuse: bool = True, server: Literal["up", "down"] = "up") -> None:
        """Back from a version on probation to the last good one. A server that is down comes back with it by itself."""
        bad, good = _known(self.state.current), self.state.previous
        self.set(current=good, previous=None, watch=None, restoring=0, crashes=0)
        if refuse:
            self.refuse(bad.number, bad.version, why)
        self.tell(bad, "reverted", why)
        if server == "up" and good is not None:
            self.go_back(good)
        elif server == "up":
            self.effects.append(Drop(bad.version))

    def go_back(self, good: HeldVersion) -> None:
        self.set(restoring=self.state.restoring + 1)
        self.effects.append(Restore(good))

    def restored(self, event: LastGoodRestored | NotRestored) -> None:
        current, tries = self.state.current, self.state.restoring
        if not tries or current is None or current.card.digest != event.card:
            return
        if isinstance(event, NotRestored):
            if tries == 1:
                self.tell(current, "alarm", f"the server does not take the last good version back: {event.why}")
            self.effects.append(SetRetryTimer("restore", self.now + backoff(tries)))
            return
        self.set(restoring=0)
        self.pursue()

    def revert_by_hand(self, why: str) -> None:
        current, previous, release = self.state.current, self.state.previous, self.state.release
        if current is None or previous is None:
            return
        if release is not None:
            self.refuse(release.number, release.version, why)
        if self.state.attempt is not None:
            self.abandon()
        if self.state.watch is not None:
            self.revert(why)
        else:
            self.refuse(current.number, current.version, why)
            self.begin(ServingGoal(previous.number, previous.card, "live"), why)

    # Crashes and restarts.

    def crashed(self, why: str) -> None:
        """The server ended. What was being loaded, on probation, or new beside, is to blame; else what was good is."""
        self.set(restoring=0)
        current, watch = self.state.current, self.state.watch
        attempt, shadow = self.state.attempt, self.state.shadow
        if watch is not None:
            self.count_crash(watch, f"the server ended twice while it answered: {why}")
        elif attempt is not None and attempt.step in ("load", "swap"):
            self.fail(f"the server ended while it took the version over: {why}")
        elif shadow is not None:
            self.set(shadow_crashes=self.state.shadow_crashes + 1)
            if self.state.shadow_crashes >= CRASHES:
                self.fail_shadow(shadow, f"the server ended twice while it answered beside: {why}")
        elif current is not None:
            self.set(crashes=self.state.crashes + 1)
            if self.state.crashes == LOOP:
                self.give_way(current, f"the server ended {LOOP} times in a row: {why}")
        self.pursue()  # What came while the last good version was not there yet waited.

    def give_way(self, current: HeldVersion, why: str) -> None:
        """A version that was good ends the server again and again: its files may be damaged. The one before answers
        until its release has been tried anew; where there is none, all that can be done is to tell."""
        if self.state.previous is None:
            self.tell(current, "alarm", why)
            return
        self.revert(why, refuse=False, server="down")
        self.pursue()

    def fail_shadow(self, shadow: HeldVersion, why: str) -> None:
        self.refuse(shadow.number, shadow.version, why)
        self.tell(shadow, "failed", why)
        self.retire_shadow(shadow)

    def broken(self, event: Broken) -> None:
        """A version that was good is tried again: its files may be damaged, and are fetched anew then."""
        current, shadow, watch = self.state.current, self.state.shadow, self.state.watch
        why = f"it cannot be loaded any more: {event.why}"
        if current is not None and current.version == event.version:
            self.revert(why, refuse=watch is not None)
            self.pursue()
            if watch is None and self.state.current is None and self.state.attempt is None:
                self.again(current, why)
        elif shadow is not None and shadow.version == event.version:
            self.fail_shadow(shadow, why)

    def again(self, held: HeldVersion, why: str) -> None:
        """Try the only version there was, whatever the newest release says."""
        self.set(attempts=self.state.attempts + 1)
        self.go(
            Attempt(
                serial=self.state.attempts,
                number=held.number,
                card=held.card,
                role="live",
                step="trial",
                version=held.version,
                held=held,
                proven=True,
                why=why,
            )
        )

    def count_crash(self, watch: ProbationWatch, why: str) -> None:
        watch = replace(watch, crashes=watch.crashes + 1)
        self.set(watch=watch)
        if watch.crashes >= CRASHES:
            self.revert(why, server="down")
            self.pursue()

    def start(self, missing: frozenset[str]) -> None:
        clean = self.state.clean
        self.set(clean=False, restoring=0, crashes=0)
        self.start_whole(missing)
        watch, attempt = self.state.watch, self.state.attempt
        if watch is not None:
            watch = replace(watch, since=self.now, tally=Tally())
            self.set(watch=watch)
            self.effects.append(SetRetryTimer("probation", self.now + watch.rules.seconds))
            # A power cut alone does not take the only version there is.
            if not clean and self.state.previous is not None:
                self.count_crash(watch, "the node went down twice while it answered")
        elif attempt is not None:
            self.start_attempt(attempt, clean, missing)
        self.pursue()

    def start_whole(self, missing: frozenset[str]) -> None:
        """Versions whose files are gone cannot be served."""
        state = self.state
        if state.previous is not None and state.previous.digests & missing:
            self.set(previous=None)
        if state.shadow is not None and state.shadow.digests & missing:
            self.set(shadow=None)
        if state.current is not None and state.current.digests & missing:
            self.revert("files of it are gone from this node", refuse=False, server="down")

    def start_attempt(self, attempt: Attempt, clean: bool, missing: frozenset[str]) -> None:
        """Take its step again; what the server had loaded is lost."""
        attempt = replace(attempt, waiting=False, tries=0)
        if attempt.step in ("trial", "load", "swap"):
            step = "files" if _known(attempt.held).digests & missing else min(attempt.step, "load", key=STEPS.index)
            attempt = replace(attempt, step=step, restarts=attempt.restarts + (not clean))
            if attempt.restarts >= CRASHES and self.state.current is not None:
                self.set(attempt=attempt)
                self.fail("the node went down twice while it tried the version")
                return
        self.go(attempt)


def backoff(tries: int) -> float:
    """Seconds to wait after so many failures."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 20))


def _known(held: HeldVersion | None) -> HeldVersion:
    assert held is not None
    return held
