"""The state machine of one model on one node: which version it serves, and how it gets to another.

Download → trial → load beside → swap → probation → commit; on any failure the node stays with the last good version,
or goes back to it, and does not try that release again. The machine is pure: no clock, file, process or network. Its
state is in the journal before its effects are carried out, and every effect may come again.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from fogline.registry.release import NodeKind
from fogline.serving.update import goal as goals
from fogline.serving.update.effects import Effect, Recombine
from fogline.serving.update.events import (
    Announced,
    Broken,
    Crashed,
    Event,
    LastGoodRestored,
    NotRestored,
    PersonalPartKept,
    Pulse,
    Recombined,
    RetryDue,
    Revert,
    Stopped,
    UpdaterStarted,
)
from fogline.serving.update.goal import ServingGoal
from fogline.serving.update.recovery import RecoveryTurn
from fogline.serving.update.state import ModelOnNode


@dataclass(frozen=True, slots=True)
class UpdateMachine:
    """Decides for one model on one node.

    Args:
        node: the node's name, which decides its place in rings.
        tier: of the node.
    """

    node: str
    tier: NodeKind

    def handle(self, state: ModelOnNode, event: Event, now: float) -> tuple[ModelOnNode, list[Effect]]:
        """React to what happened at time ``now`` (seconds, of a clock that starts anew with the node)."""
        turn = _Turn(self.node, self.tier, state, now)
        turn.react(event)
        after = turn.state
        trash = (set(state.trash) | (state.needed - after.needed)) - after.needed
        if trash != set(state.trash):
            after = replace(after, trash=tuple(sorted(trash)))
        return after, turn.effects


class _Turn(RecoveryTurn):
    """What is decided about releases; and whose affair an event is."""

    def react(self, event: Event) -> None:
        """Decide what follows from an event."""
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
            case PersonalPartKept():
                self.personal_part_kept()
            case Recombined():
                self.recombined(event)
            case LastGoodRestored() | NotRestored():
                self.restored(event)
            case _:
                attempt = self.state.attempt
                if attempt is not None and attempt.serial == event.attempt:
                    self.answer(attempt, event)

    def announced(self, event: Announced) -> None:
        """There is a release, maybe a newer one."""
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

    def personal_part_kept(self) -> None:
        """What answers is made anew with it; a version that waits for it is tried."""
        if self.state.current is not None:
            self.effects.append(Recombine(self.state.current))
        self.retry()

    def recombined(self, event: Recombined) -> None:
        """People and the cloud hear of it."""
        current = self.state.current
        if current is None or current.card.digest != event.card:
            return
        if event.why:
            self.tell(current, "alarm", event.why)
        elif self.state.watch is None:
            self.tell(current, "committed")

    def pursue(self) -> None:
        """Go for what the newest release says."""
        if self.state.restoring:
            return
        goal = goals.goal(self.state, self.node, self.tier)
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
            if goal is not None and (attempt.card, attempt.slot) == (goal.card, goal.slot):
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
        if goal.slot == "live" and current is not None and current.card == goal.card:
            if current.number != goal.number:
                current = replace(current, number=goal.number)
                self.set(current=current)
                if self.state.watch is None:
                    self.tell(current, "committed")
        elif goal.slot == "shadow" and shadow is not None and shadow.card == goal.card:
            self.set(shadow=replace(shadow, number=goal.number))
