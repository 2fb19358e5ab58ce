"""What an aggregator is in a job, from the announcement of the job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fogline.jobs.job import Job
from fogline.network.node.site.admission import NotAllowedError
from fogline.network.transport.messages import JobAnnouncement
from fogline.nodes.aggregator import Aggregator
from fogline.nodes.policies import make_policy, policy_of
from fogline.nodes.role import role_of, survey_role
from fogline.retries import Backoff


def aggregator_maker(
    name: str, job: Job, announcement: JobAnnouncement, join_window: float, retry: Backoff
) -> Callable[[str | None], Aggregator]:
    """From the parent's name to a new state machine.

    Args:
        name: the aggregator's.
        job: what is to be done,
        announcement: and how it was announced.
        join_window: seconds to wait for more children when the first one joins.
        retry: how long until a report without a receipt is sent again.

    Raises:
        NotAllowedError: the job's tree is less deep than this one.
    """
    if announcement.depth >= len(job.tree.names):
        raise NotAllowedError(
            f"the job's tree has {len(job.tree.names)} tiers of aggregators, and {name} would be in tier "
            f"{announcement.depth + 1}; add a table to its [tree]"
        )
    tier = job.tree.names[announcement.depth]

    def make(parent: str | None) -> Aggregator:
        role = replace(role_of(job, announcement.traits, name, tier, parent), join_window=join_window, retry=retry)
        return Aggregator(role, policy_of(role.tier))

    return make


def surveyor_maker(
    name: str, job: Job, announcement: JobAnnouncement, retry: Backoff
) -> Callable[[str | None], Aggregator]:
    """From the parent's name to a new state machine that asks beside the training; see :func:`aggregator_maker`."""
    tier = job.tree.names[announcement.depth]

    def make(parent: str | None) -> Aggregator:
        role = replace(survey_role(job, announcement.traits.summed, name, tier, parent), retry=retry)
        return Aggregator(role, make_policy("uniform"))

    return make
