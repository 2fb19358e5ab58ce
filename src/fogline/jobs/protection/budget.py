"""What a job gives away of each unit, and how many rounds its budget allows.

A budget is a number of rounds: what a round costs is known before it, so a job that may not spend more has fewer. All
that goes by rounds (schedules, judgements, what is published at the end) then has the number that there will be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.privacy import Privacy
from fogline.jobs.protection.example_events import example_events_of
from fogline.jobs.protection.protection import events_of, protection_of, releases_of
from fogline.modes import Mode
from fogline.privacy.accounting.events import Event
from fogline.privacy.accounting.ledger import Charge

if TYPE_CHECKING:
    from fogline.algorithms import Algorithm
    from fogline.data import FederatedData

WHOSE = {"example": "each example", "device": "each device's whole data set", "site": "all data of each site"}
"""What is protected as one."""


@dataclass(frozen=True)
class Account:
    """What a job's rounds give away of a unit that is in all of them."""

    job: Job
    """With ``[privacy]``, and with the method's and the model's own settings."""
    mode: Mode = "sync"
    """The method's, of tiers that name none."""
    examples: int | None = None
    """Where each example is protected: how many the device with the fewest has, as there each is drawn most often.
    None: it is not known, and every device has an account of its own."""

    @property
    def in_rounds(self) -> bool:
        """Whether all tiers work in rounds, so that rounds of the root tell how often a unit is in."""
        return set(self.job.tree.modes(self.mode).values()) == {"sync"}

    def events(self, rounds: int) -> tuple[Event, ...] | None:
        """What is given away in so many rounds of the root; None where that is not known.

        Raises:
            JobError: the job protects nothing.
        """
        protection = protection_of(self.job)
        if not self.in_rounds:
            return None
        counted = self.job.model_copy(update={"rounds": rounds})
        if protection is not None:
            releases = releases_of(counted, protection)
            return None if releases is None else events_of(self.job, releases)
        if self.examples is None:
            return None
        return example_events_of(self.job, self.examples, math.prod([rounds, *_inner_rounds(self.job)]))

    def epsilon(self, rounds: int) -> float | None:
        """ε at the job's δ after so many rounds of the root; infinite where there is no noise, None where it is not
        known."""
        from fogline.privacy.accounting.accountants import epsilon  # Not above: it needs arrays, and agents read jobs.

        privacy, events = _privacy_of(self.job), self.events(rounds)
        return None if events is None else epsilon(events, privacy.delta, privacy.accountant)


def account_of(job: Job, algorithm: Algorithm, data: FederatedData) -> Account | None:
    """The account of a job whose data is here; None where it counts nothing."""
    if job.privacy is None:
        return None
    return Account(job, algorithm.mode, int(data.sizes().min()) if job.privacy.unit == "example" else None)


def charge_of(job: Job, name: str, times: int, samples: int, start: str = "") -> Charge:
    """What a device's owner is charged before the device trains once more.

    Args:
        job: with ``[privacy]``, and with the method's and the model's own settings.
        name: under which the ledger has it.
        times: how often the device has trained for it, with this time. Where the root adds the noise, a round that did
            not count told nobody anything; where it is added on the way there, it did.
        samples: examples that the device has.
        start: which start of the job; see :class:`fogline.privacy.accounting.ledger.Charge`.

    Raises:
        JobError: the job protects nothing.
    """
    privacy, protection = _privacy_of(job), protection_of(job)
    if protection is None:
        events = example_events_of(job, samples, times)
    else:
        planned = releases_of(job, protection)
        if planned is None or protection.noise > 0:
            planned = max(planned or 0, times * protection.separation)  # Whoever asks may not keep to turns.
        events = events_of(job, planned, times)
    return Charge(name, privacy.unit, times, events, privacy.delta, privacy.epsilon, privacy.accountant, start)


def within_budget(account: Account | None, job: Job) -> Job:
    """The job with as many rounds as its budget allows, at most those that it wants.

    Args:
        account: its own; None where it counts nothing.
        job: one without a budget stays as it is.

    Raises:
        JobError: not even one round is allowed, or it cannot be known; the sentence says what to do.
    """
    from fogline.privacy.accounting.accountants import most_rounds

    privacy = job.privacy
    if account is None or privacy is None or privacy.epsilon is None:
        return job
    allowed, once = privacy.epsilon, account.epsilon(1)
    if not account.in_rounds:
        raise JobError(
            f"privacy.epsilon is {allowed:g}, but not every tier works in rounds (mode), so that nobody knows before "
            "when that is spent; take mode = 'sync' and a method for it, or leave privacy.epsilon out"
        )
    if once is None:
        return job  # Every device holds itself to it.
    rounds = most_rounds(lambda count: _within(allowed, account.epsilon(count)), job.rounds)
    if rounds == 0:
        raise JobError(
            f"privacy.epsilon is {allowed:g}, and one round gives away ε = {_figure(once)} of "
            f"{WHOSE[privacy.unit]} at δ = {privacy.delta:g}; set privacy.noise above {privacy.noise:g} "
            "(fogline privacy noise says how much)"
        )
    return job if rounds == job.rounds else job.model_copy(update={"rounds": rounds})


def _within(allowed: float, found: float | None) -> bool:
    return found is not None and found <= allowed


def why_fewer(asked: Job, job: Job) -> str:
    """A sentence for people where a job has fewer rounds than were asked for; else nothing."""
    if job.rounds >= asked.rounds or job.privacy is None or job.privacy.epsilon is None:
        return ""
    return (
        f"The run ends after {job.rounds} of {asked.rounds} rounds: one more would exceed ε = {job.privacy.epsilon:g} "
        f"for {WHOSE[job.privacy.unit]} at δ = {job.privacy.delta:g}."
    )


def in_words(privacy: Privacy, epsilon: float) -> str:
    """What was given away, for people."""
    of = "no limit is set" if privacy.epsilon is None else f"of {privacy.epsilon:g} allowed"
    if not math.isfinite(epsilon):
        return f"{WHOSE[privacy.unit]}, no bound on ε at δ = {privacy.delta:g}, {of}"
    return f"{WHOSE[privacy.unit]}, ε = {_figure(epsilon)} at δ = {privacy.delta:g}, {of}"


def _inner_rounds(job: Job) -> list[int]:
    """Of the tiers below the root, in a round of the one above."""
    return [tier.rounds for tier in list(job.tree.tiers.values())[1:]]


def _privacy_of(job: Job) -> Privacy:
    if job.privacy is None:
        raise JobError("The job has no [privacy], so there is nothing to be counted.")
    return job.privacy


def _figure(epsilon: float) -> str:
    """ε rounded up, so that what is said is still true."""
    if not math.isfinite(epsilon):
        return "∞"
    if epsilon == 0:
        return "0"
    digit = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return f"{math.ceil(epsilon / digit) * digit:.3g}"
