"""Policies by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogline.factories import Factory
from fogline.nodes.policies.base import Selection, SelectionPolicyError

if TYPE_CHECKING:
    from fogline.jobs import Tier

POLICIES = Factory("policy", "fogline.nodes.policies", Selection, first="uniform", error=SelectionPolicyError)
"""All policies."""


def make_policy(name: str, /, **parameters: object) -> Selection:
    """The policy of that name with these parameters.

    Raises:
        SelectionPolicyError: there is no such policy, or it takes no such parameter or value; one sentence.
    """
    return POLICIES.make(name, **parameters)


def policy_of(tier: Tier) -> Selection:
    """The policy of a tier.

    Raises:
        SelectionPolicyError: as :func:`make_policy`, or it is blind without what devices do not tell in an exchange.
    """
    policy = make_policy(tier.policy, **tier.policy_parameters)
    if tier.exchange and policy.needs_loss:
        raise SelectionPolicyError(
            f"The policy '{tier.policy}' selects by the devices' losses, which they do not tell in an exchange; take "
            "another policy, such as 'uniform'"
        )
    return policy
