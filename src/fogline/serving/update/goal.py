"""Which version a node should serve, by the newest release."""

from __future__ import annotations

from typing import NamedTuple

from fogline.inference.card import Asset
from fogline.registry.release import NodeKind, Release
from fogline.serving.slots import VersionSlot
from fogline.serving.update.state import Attempt, HeldVersion, ModelOnNode


class ServingGoal(NamedTuple):
    """A version to be served."""

    number: int
    """The release that wants it."""
    card: Asset
    slot: VersionSlot
    version: int = 0
    """0 where the release does not say."""


def cards(release: Release) -> frozenset[str]:
    """Digests of the cards that a release names."""
    return frozenset(asset.digest for asset in (release.card, release.before) if asset is not None)


def goal(state: ModelOnNode, node: str, tier: NodeKind) -> ServingGoal | None:
    """What the newest release wants of a node; None: that it stays as it is."""
    release = state.release
    if release is None or tier not in release.tiers or release.state == "paused" or state.refuses(release.number):
        return None
    inside = release.holds(node)
    aborted = release.state == "aborted" and release.before is not None
    alone = release.mode == "shadow" and state.current is None  # There is nothing yet to be compared with.
    if inside and not aborted and not alone:
        wanted = ServingGoal(release.number, release.card, release.mode, release.version)
    elif release.before is not None:
        wanted = ServingGoal(release.number, release.before, "live")
    else:
        return None
    if state.allowed is not None and wanted.card.digest not in state.allowed:
        return None
    return wanted


def is_here(goal: ServingGoal, state: ModelOnNode) -> bool:
    """Whether the node does what is wanted already. What it serves, or has served, need not answer silently."""
    held = (state.current,) if goal.slot == "live" else (state.current, state.previous, state.shadow)
    return any(one is not None and one.card == goal.card for one in held)


def calls_back(goal: ServingGoal, state: ModelOnNode) -> bool:
    """Whether the version on probation is to be given up at once, not after its probation."""
    current = state.current
    if current is None or goal.slot == "shadow" or goal.card == current.card:
        return False
    return goal.version < current.version


def retires_shadow(goal: ServingGoal | None, state: ModelOnNode) -> bool:
    """Whether the version that answers silently has done so for long enough."""
    release, shadow = state.release, state.shadow
    if shadow is None or release is None or release.state == "paused" or (goal and goal.card == shadow.card):
        return False
    return release.mode != "shadow" or release.card != shadow.card


def misfit(attempt: Attempt, held: HeldVersion, state: ModelOnNode) -> str | None:
    """What is wrong with a card that was fetched; None: nothing."""
    if attempt.version and held.version != attempt.version:
        return f"its card is of version {held.version}, but the release says {attempt.version}"
    for other in (state.current, state.previous, state.shadow):
        if other is not None and other.version == held.version and other.card != held.card:
            return f"another version {held.version} of the model is on this node"
    return None
