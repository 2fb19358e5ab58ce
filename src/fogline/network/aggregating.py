"""What an aggregator is in a job, from the ticket that announces it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from fogline.jobs import Mode
from fogline.jobs.files import parse_job
from fogline.network.contract import Ticket
from fogline.network.gate import NotAllowed
from fogline.nodes.aggregator import Aggregator
from fogline.nodes.policies import make_policy
from fogline.nodes.role import Says, role_of


def aggregator_maker(name: str, ticket: Ticket, gather: float, retry: float) -> Callable[[str | None], Aggregator]:
    """From the parent's name to a new state machine.

    Args:
        name: the aggregator's.
        ticket: the job.
        gather: seconds to wait for more children when the first one joins.
        retry: seconds after which a report without a receipt is sent again.

    Raises:
        NotAllowed: the job's tree is less deep than this one.
    """
    job = parse_job(ticket.text)
    if ticket.depth >= len(job.tree.names):
        raise NotAllowed(
            f"the job's tree has {len(job.tree.names)} tiers of aggregators, and {name} would be in tier "
            f"{ticket.depth + 1}; add a table to its [tree]"
        )
    tier = job.tree.names[ticket.depth]
    says = Says(cast("Mode", ticket.mode), ticket.buffer, ticket.group_models)

    def make(parent: str | None) -> Aggregator:
        role = replace(role_of(job, says, name, tier, parent), gather=gather, retry=retry)
        return Aggregator(role, make_policy(role.tier.policy, **role.tier.policy_parameters))

    return make
