"""Who trains next: policies by which an aggregator selects among its children."""

from fogline.attributes import describe_attributes
from fogline.nodes.policies.base import Candidates, Feedback, Selection, SelectionPolicyError
from fogline.nodes.policies.registry import POLICIES, make_policy, policy_of

__all__ = ["POLICIES", "Candidates", "Feedback", "Selection", "SelectionPolicyError", "make_policy", "policy_of"]

describe_attributes(__name__)
