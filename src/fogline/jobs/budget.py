"""What a job gives away of each unit, and how many rounds its budget allows.

A budget is a number of rounds: what a round costs is known before it, so a job that may not spend more has fewer. All
that goes by rounds (schedules, judgements, what is published at the end) then has the number that there will be.
"""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING

from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.privacy import Privacy
from fogline.jobs.protection import events_of, protection_of, releases_of
from fogline.privacy.accounting.events import Event
from fogline.privacy.accounting.ledger import Charge

if TYPE_CHECKING:
    from fogline.data import FederatedData

WHOSE = {"example": "each example", "device": "each device's whole data set", "site": "all data of each site"}
"""What is protected as one."""


def events_after(job: Job, rounds: int, examples: int = 0) -> tuple[Event, ...] | None:
    """What a job has given away of one unit after so many rounds of the root, if the unit was in all of them; None
    where rounds do not tell, because a tier below works in none.

    Args:
        job: with ``[privacy]``.
        rounds: of the root.
        examples: that the device with the fewest has, where each of them is protected: there each is drawn most often.

    Raises:
        JobError: it protects nothing.
    """
    releases = _releases(job, rounds)
    return None if releases is None else events_of(job, releases)


def _releases(job: Job, rounds: int) -> int | None:
    """Sums with noise that one unit can be in after so many rounds of the root."""
    protection = protection_of(job)
    if protection is None or protection.noise == 0:
        return rounds  # Whatever the root's mode is: each of its models is a round.
    return releases_of(job.model_copy(update={"rounds": rounds}), protection)


def charge_of(job: Job, name: str, times: int, samples: int = 0) -> Charge:
    """What a device's owner is charged before the device trains once more.

    Args:
        job: with ``[privacy]``.
        name: under which the ledger has it.
        times: how often the device has trained for it, with this time. Where the root adds the noise, a round that did
            not count told nobody anything; where it is added on the way there, it did.
        samples: examples that the device has.

    Raises:
        JobError: the job protects nothing.
    """
    privacy, planned = _privacy_of(job), _releases(job, job.rounds)
    events = events_of(job, planned if planned is not None and _at_root(job) else max(planned or 0, times), times)
    return Charge(name, privacy.unit, times, events, privacy.delta, privacy.epsilon, privacy.accountant)


def counted_job(text: str) -> Job | None:
    """The job of a text (TOML) if what it gives away is counted; None if it has no ``[privacy]``."""
    if "privacy" not in tomllib.loads(text):
        return None
    from fogline.jobs.reading import parse_job  # Not above: it reads jobs, and this belongs to them.

    return parse_job(text)


def spent(job: Job, rounds: int, examples: int = 0) -> float | None:
    """ε at the job's δ after so many rounds of the root; infinite where there is no noise, None where the rounds do not
    tell. See :func:`events_after`."""
    from fogline.privacy.accounting.accountants import epsilon  # Not above: it needs arrays, and agents read jobs.

    privacy, events = _privacy_of(job), events_after(job, rounds, examples)
    return None if events is None else epsilon(events, privacy.delta, privacy.accountant)


def fewest_examples(job: Job, data: FederatedData) -> int:
    """Examples of the device with the fewest, if that makes a difference to what a job gives away; else 0."""
    return int(data.sizes().min()) if job.privacy is not None and job.privacy.unit == "example" else 0


def within_budget(job: Job, examples: int = 0) -> Job:
    """The job with as many rounds as its budget allows, at most those that it wants.

    Args:
        job: any; one without a budget stays as it is.
        examples: see :func:`events_after`.

    Raises:
        JobError: not even one round is allowed; the sentence says what noise would do.
    """
    from fogline.privacy.accounting.accountants import most_rounds

    privacy = job.privacy
    if privacy is None or privacy.epsilon is None:
        return job
    allowed, once = privacy.epsilon, spent(job, 1, examples)
    if once is None:
        raise JobError(
            f"privacy.epsilon is {allowed:g}, but a tier below {job.tree.names[0]} works in no rounds, so that "
            "nobody knows when that is spent; give every tier mode = 'sync', or leave privacy.epsilon out"
        )
    rounds = most_rounds(lambda count: _within(allowed, spent(job, count, examples)), job.rounds)
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
    return f"{WHOSE[privacy.unit]}, ε = {_figure(epsilon)} at δ = {privacy.delta:g}, {of}"


def _at_root(job: Job) -> bool:
    protection = protection_of(job)
    return protection is not None and protection.noise == 0


def _privacy_of(job: Job) -> Privacy:
    if job.privacy is None:
        raise JobError("The job has no [privacy], so there is nothing to be counted.")
    return job.privacy


def _figure(epsilon: float) -> str:
    """ε rounded up, so that what is said is still true."""
    if not math.isfinite(epsilon):
        return "without bound"
    if epsilon == 0:
        return "0"
    digit = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return f"{math.ceil(epsilon / digit) * digit:.3g}"
