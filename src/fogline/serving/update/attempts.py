"""The way of a version to its place: card, files, trial, load, swap; and what comes of it on that way."""

from __future__ import annotations

from msgspec.structs import replace

from fogline.serving.update import goal as goals
from fogline.serving.update.effects import (
    Abandon,
    Drop,
    FetchCard,
    FetchFiles,
    Load,
    Restore,
    SetRetryTimer,
    Swap,
    Try,
)
from fogline.serving.update.events import (
    CardRead,
    Delayed,
    FilesReady,
    Loaded,
    Passed,
    ServingFailed,
    Swapped,
)
from fogline.serving.update.goal import ServingGoal
from fogline.serving.update.state import (
    Attempt,
    HeldVersion,
    ProbationBaseline,
    ProbationWatch,
)
from fogline.serving.update.turn import Turn, known


class AttemptTurn(Turn):
    """What is decided about an attempt."""

    def begin(self, goal: ServingGoal, why: str = "") -> None:
        """Go for another version: from its card on, or from the server where its files are here already."""
        previous, shadow = self.state.previous, self.state.shadow
        here = next((held for held in (previous, shadow) if held is not None and held.card == goal.card), None)
        self.set(attempts=self.state.attempts + 1)
        attempt = Attempt(
            serial=self.state.attempts,
            number=goal.number,
            card=goal.card,
            slot=goal.slot,
            step="card" if here is None else "load",
            version=goal.version if here is None else here.version,
            held=None if here is None else replace(here, number=goal.number),
            proven=here is not None and here is previous,
            why=why,
        )
        if shadow is not None and shadow.card == goal.card:
            self.retire_shadow(shadow)
        self.go(attempt)

    def again(self, held: HeldVersion, why: str) -> None:
        """Try the only version there was, whatever the newest release says."""
        self.set(attempts=self.state.attempts + 1)
        self.go(
            Attempt(
                serial=self.state.attempts,
                number=held.number,
                card=held.card,
                slot="live",
                step="trial",
                version=held.version,
                held=held,
                proven=True,
                why=why,
            )
        )

    def retire_shadow(self, shadow: HeldVersion) -> None:
        """Let go of the version that answers silently."""
        self.set(shadow=None, shadow_crashes=0)
        self.effects.append(Drop(shadow.version))

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
                slot = "beside" if attempt.slot == "live" else "shadow"
                self.effects.append(Load(attempt.serial, held, slot))

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
                self.go(replace(attempt, step="load", held=replace(known(attempt.held), runtime=runtime)))
            case "load", Loaded():
                if attempt.slot == "live":
                    self.go(replace(attempt, step="swap"))
                else:
                    self.shadowed(attempt)
            case "swap", Swapped():
                self.swapped(attempt)
            case _:
                pass

    def delay(self, attempt: Attempt, event: Delayed) -> None:
        """Something could not be had: it is tried again later, and people are told once what is no mere outage."""
        tries = attempt.tries + 1
        if event.kind not in ("away", attempt.delayed_by):
            self.tell(attempt, "alarm", event.why)
            attempt = replace(attempt, delayed_by=event.kind)
        step = "files" if attempt.step == "trial" else attempt.step
        self.set(attempt=replace(attempt, step=step, waiting=True, tries=tries))
        self.retry_later("retry", tries)

    def retry(self) -> None:
        """It is time to try again."""
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
        """The version answers silently from now on."""
        held = replace(known(attempt.held), number=attempt.number)
        self.set(shadow=held, attempt=None)
        self.tell(held, "shadowing")

    def swapped(self, attempt: Attempt) -> None:
        """The version answers from now on; one that is not proven is on probation first."""
        held = replace(known(attempt.held), number=attempt.number)
        before = self.state.current
        if attempt.proven:
            self.set(current=held, previous=None, watch=None, baseline=ProbationBaseline(), attempt=None)
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

    def go_back(self, good: HeldVersion) -> None:
        """Have the server answer with the last good version again."""
        self.set(restoring=self.state.restoring + 1)
        self.effects.append(Restore(good))
