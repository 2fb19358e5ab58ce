"""Policies by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import get_close_matches

from fogline.nodes.policies.available import Available
from fogline.nodes.policies.base import Selection, SelectionPolicyError
from fogline.nodes.policies.fedcs import FedCS
from fogline.nodes.policies.oort import Oort
from fogline.nodes.policies.power_of_choice import PowerOfChoice
from fogline.nodes.policies.tifl import TiFL
from fogline.nodes.policies.uniform import Uniform
from fogline.nodes.policies.weighted import WeightedSampling

CLASSES: tuple[type[Selection], ...] = (Uniform, WeightedSampling, PowerOfChoice, Oort, Available, FedCS, TiFL)


def policies() -> dict[str, type[Selection]]:
    """All policies by name, the default first."""
    return {policy.name: policy for policy in CLASSES}


def make_policy(name: str, /, **parameters: object) -> Selection:
    """The policy of that name (``-`` and ``_`` are the same) with these parameters.

    Raises:
        PolicyError: there is no such policy, or it takes no such parameter or value; one sentence.
    """
    known = policies()
    policy = known.get(name.replace("-", "_"))
    if policy is None:
        raise SelectionPolicyError(f"There is no policy '{name}'{_nearest(name, known)}.")
    taken = inspect.signature(policy).parameters
    for parameter in parameters:
        if parameter not in taken:
            hint = _nearest(parameter, taken) if taken else "; it takes none"
            raise SelectionPolicyError(f"The policy '{policy.name}' takes no parameter '{parameter}'{hint}.")
    try:
        return policy(**parameters)
    except SelectionPolicyError as wrong:
        raise SelectionPolicyError(f"The policy '{policy.name}' cannot be set up: {wrong}") from None


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = get_close_matches(word.replace("-", "_"), names, n=1)
    return f"; '{close[0]}' may be meant" if close else f"; known are {', '.join(names)}"
