"""Whether a version stays: its probation, and the way back to the last good one."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from fogline.registry.release import Tally
from fogline.serving.update.attempts import AttemptTurn
from fogline.serving.update.effects import (
    Drop,
    SetRetryTimer,
)
from fogline.serving.update.events import (
    LastGoodRestored,
    NotRestored,
    Pulse,
)
from fogline.serving.update.goal import ServingGoal
from fogline.serving.update.probation import fault, over
from fogline.serving.update.state import (
    ProbationBaseline,
    ProbationWatch,
)
from fogline.serving.update.turn import known


class RevertTurn(AttemptTurn):
    """What is decided about the version that answers."""

    def pulse(self, pulse: Pulse) -> None:
        """Count how a version fares."""
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
        """The probation is over, and the version is the last good one."""
        self.set(watch=None, baseline=ProbationBaseline(recent=watch.tally), crashes=0)
        self.tell(known(self.state.current), "committed")
        self.pursue()

    def revert(self, why: str, refuse: bool = True, server: Literal["up", "down"] = "up") -> None:
        """Back from a version on probation to the last good one. A server that is down comes back with it by itself."""
        bad, good = known(self.state.current), self.state.previous
        self.set(current=good, previous=None, watch=None, restoring=0, crashes=0)
        if refuse:
            self.refuse(bad.number, bad.version, why)
        self.tell(bad, "reverted", why)
        if server == "up" and good is not None:
            self.go_back(good)
        elif server == "up":
            self.effects.append(Drop(bad.version))

    def restored(self, event: LastGoodRestored | NotRestored) -> None:
        """The server has taken the last good version back, or has not."""
        current, tries = self.state.current, self.state.restoring
        if not tries or current is None or current.card.digest != event.card:
            return
        if isinstance(event, NotRestored):
            if tries == 1:
                self.tell(current, "alarm", f"the server does not take the last good version back: {event.why}")
            self.retry_later("restore", tries)
            return
        self.set(restoring=0)
        self.pursue()

    def revert_by_hand(self, why: str) -> None:
        """Somebody wants the version before; the newest release is not tried again."""
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
