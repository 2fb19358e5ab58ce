"""The policies that hold at a cloud, in words, for who looks at them: the fleet's as far as an operator signed it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fogline.governance.errors import SitePolicyError
from fogline.governance.policy.in_words import in_words
from fogline.governance.policy.keys import parse_policy
from fogline.network.cloud.requests import SetPolicies
from fogline.network.node.site.fleet_policy import SOURCE, verified_fleet_policy

OWN = "the cloud's policy"


class ShownPolicy(msgspec.Struct, frozen=True):
    """A policy, for people."""

    name: str
    words: tuple[str, ...]
    """What it says, a sentence for each thing; or why it cannot be believed."""
    text: str = ""
    """As it was written (TOML)."""
    by: str = ""
    """Who signed it; empty: nobody, it is a file of the cloud's."""
    at: float | None = None
    """Unix time, by the clock of who signed it."""


def shown_policies(told: SetPolicies, root: bytes, now: datetime) -> tuple[ShownPolicy, ...]:
    """The fleet's policy, and the cloud's own.

    Args:
        told: what the cloud has told.
        root: certificate of its authority (PEM): whom it has not made an operator has signed nothing.
        now: by the clock on the wall.
    """
    return _fleet(told.fleet, root, now), ShownPolicy(OWN, _words(told.cloud, OWN, now), told.cloud)


def _fleet(data: bytes, root: bytes, now: datetime) -> ShownPolicy:
    if not data:
        return ShownPolicy(SOURCE, ("There is none: each node goes by its own.",))
    try:
        speaker, said = verified_fleet_policy(data, root)
    except SitePolicyError as error:
        return ShownPolicy(SOURCE, (str(error),))
    words = _words(said.text, SOURCE, now) if said.text.strip() else ("It was taken back: each node goes by its own.",)
    return ShownPolicy(SOURCE, words, said.text, speaker.name, said.at)


def _words(text: str, source: str, now: datetime) -> tuple[str, ...]:
    try:
        return tuple(in_words(parse_policy(text, source), now))
    except SitePolicyError as error:
        return (str(error),)
