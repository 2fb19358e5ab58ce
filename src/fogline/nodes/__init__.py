"""The nodes of the tree as pure state machines: ``handle(event, now)`` gives effects."""

from fogline.nodes.aggregator import Aggregator, Role
from fogline.nodes.device import Device

__all__ = ["Aggregator", "Device", "Role"]
