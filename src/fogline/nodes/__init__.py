"""The nodes of the tree as pure state machines: ``handle(event, now)`` gives effects."""

from fogline.nodes.aggregator import Aggregator
from fogline.nodes.device import Device
from fogline.nodes.role import Role

__all__ = ["Aggregator", "Device", "Role"]
