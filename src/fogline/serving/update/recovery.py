"""What follows from crashes, of the server and of the node: who is to blame, and how it goes on."""

from __future__ import annotations

from msgspec.structs import replace

from fogline.registry.release import Tally
from fogline.serving.update.effects import SetRetryTimer
from fogline.serving.update.events import Broken
from fogline.serving.update.reverting import RevertTurn
from fogline.serving.update.state import (
    Attempt,
    HeldVersion,
    ProbationWatch,
    Step,
)
from fogline.serving.update.turn import known

STEPS: tuple[Step, ...] = ("card", "files", "trial", "load", "swap")
CRASHES = 2
"""Crashes of the server, or of the node, with which a version is given up;"""
LOOP = 3
"""and those in a row with which one that was good is."""


class RecoveryTurn(RevertTurn):
    """What is decided after a crash or a restart."""

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
        """The version that answers silently is no good."""
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

    def count_crash(self, watch: ProbationWatch, why: str) -> None:
        """A version on probation is given up with its second crash."""
        watch = replace(watch, crashes=watch.crashes + 1)
        self.set(watch=watch)
        if watch.crashes >= CRASHES:
            self.revert(why, server="down")
            self.pursue()

    def start(self, missing: frozenset[str]) -> None:
        """Go on after a restart of the node."""
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
            step = "files" if known(attempt.held).digests & missing else min(attempt.step, "load", key=STEPS.index)
            attempt = replace(attempt, step=step, restarts=attempt.restarts + (not clean))
            if attempt.restarts >= CRASHES and self.state.current is not None:
                self.set(attempt=attempt)
                self.fail("the node went down twice while it tried the version")
                return
        self.go(attempt)
