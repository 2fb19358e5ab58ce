"""Policies by name."""

from __future__ import annotations

from fogline.factories import Factory
from fogline.nodes.policies.base import Selection, SelectionPolicyError

POLICIES = Factory("policy", "fogline.nodes.policies", Selection, first="uniform", error=SelectionPolicyError)
"""All policies."""


def make_policy(name: str, /, **parameters: object) -> Selection:
    """The policy of that name with these parameters.

    Raises:
        SelectionPolicyError: there is no such policy, or it takes no such parameter or value; one sentence.
    """
    return POLICIES.make(name, **parameters)
