"""What the clock of a simulation knows of every node."""

from __future__ import annotations

import msgspec

from fogline.nodes import Aggregator, Device
from fogline.simulation.fleet.scenario import Scenario


class Seat(msgspec.Struct, gc=False, eq=False):
    """What the clock knows of a node with every event. An aggregator has one all along, a device while it works."""

    name: str
    node: Aggregator | Device
    client: int
    """Number of the device; -1 for an aggregator."""
    report: int
    """Bytes of what it sends up."""
    parent: Seat | None
    owned: tuple[str, ...] = ()
    """How the keys begin that are its own; a device's updates are its parent's."""
    tier: str = ""
    """Whose links its messages to children take; a device has none."""
    certain: bool = False
    """Whether all training that its devices begin is needed soon."""
    asked: int = 0
    """Requests under way to a device."""
    down: int = 0
    """Bytes of a model that an aggregator sends a child."""
    hands_on: bool = False
    """Whether it is an aggregator that has no model of its own."""


def seats_of(scenario: Scenario) -> dict[str, Seat]:
    """The aggregators' seats, by name."""
    seats: dict[str, Seat] = {}
    sizes, many = scenario.sizes, len(set(scenario.homes)) > 1
    for name, node in scenario.aggregators.items():  # A parent comes before its children.
        # Of an over-selected cohort some is never needed, and what is alone below a root is computed all at once.
        needed = node.role.mode == "async" or (many and not node.role.tier.over_selects)
        parent, tier = None if node.role.parent is None else seats[node.role.parent], scenario.tiers[name]
        report = sizes.update if node.role.moves else sizes.partial
        if parent is not None:
            report = sizes.of(parent.tier, report).up
        down = sizes.of(tier, 0).down
        certain = needed and name not in scenario.eager
        owned = (f"{name}#", f"{name}@")
        seats[name] = Seat(
            name, node, -1, report, parent, owned, tier, certain, down=down, hands_on=not node.role.moves
        )
    return seats
