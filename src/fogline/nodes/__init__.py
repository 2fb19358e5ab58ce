"""The nodes of the tree as pure state machines: ``handle(event, now)`` gives effects."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fogline.nodes.aggregator import Aggregator
    from fogline.nodes.device import Device
    from fogline.nodes.role import AggregatorRole

# Imported when they are first used: a device, which has little memory, needs no aggregator.
_HOMES = {"Aggregator": "aggregator", "Device": "device", "AggregatorRole": "role"}

__all__ = ["Aggregator", "AggregatorRole", "Device"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
