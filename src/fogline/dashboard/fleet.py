"""The tree of real nodes, from what the cloud knows of each."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fogline.dashboard.hub import Hub
from fogline.monitoring.tree_state import STATE_OF, TRAINING, WAITING, RoundState, TreeNode, TreeNodes, TreeSnapshot
from fogline.network.cloud.records import LogLine, NodeInfo
from fogline.network.cloud.requests import FleetNews
from fogline.network.transport.messages import RoundActivity

FLEET = "fleet"
"""By which the page knows the tree."""
AWAY = "o"
SHOWN = 3
"""Children that are named, of those that a round waits for."""


class Member(msgspec.Struct, frozen=True):
    """A node, as the page lists it."""

    name: str
    role: str
    parent: str
    up: bool
    since: float
    why: str
    address: str
    warning: str


class FleetView:
    """Shows the nodes.

    Args:
        cloud: the root's name.
        hub: is told.
    """

    def __init__(self, cloud: str, hub: Hub) -> None:
        self._cloud = cloud
        self._hub = hub
        self._nodes: dict[str, NodeInfo] = {}
        self._activity: dict[tuple[str, str], RoundActivity] = {}
        self._befell: dict[str, str] = {}
        """The letter of what befell a device last; it holds until the device trains again."""

    def take(self, news: FleetNews) -> None:
        """Show what the cloud has told."""
        for node in news.nodes:
            self._nodes[node.name] = node
            member = Member(
                node.name, node.role, node.parent, node.up, node.since, node.why, node.address, node.warning
            )
            self._hub.tell(f"member/{node.name}", member)
        for activity in news.activity:
            self._activity[activity.node, activity.job] = activity
        for name in news.forgotten_nodes:
            self._nodes.pop(name, None)
            self._hub.forget(f"member/{name}")
        for key in news.ended:
            self._activity.pop(key, None)
        self.show()

    def heard(self, line: LogLine) -> None:
        """A line of a job's log: something may have befallen a device."""
        letter = STATE_OF.get(line.what)
        if letter is not None and letter != WAITING:
            self._befell[line.child or line.node] = letter

    def show(self) -> None:
        """Tell how the tree is now."""
        aggregators = [TreeNode(self._cloud, "", "cloud"), *self._aggregators()]
        places = {node.name: i for i, node in enumerate(aggregators)}
        devices = sorted((node for node in self._nodes.values() if node.role == "device"), key=lambda one: one.name)
        homes = tuple(places.get(device.parent, 0) for device in devices)
        trains = {name for one in self._activity.values() for name in one.state.names}
        for name in trains:
            self._befell.pop(name, None)
        self._hub.tell(f"nodes/{FLEET}", TreeNodes(tuple(aggregators), tuple(device.name for device in devices), homes))
        self._hub.tell(
            f"tree/{FLEET}",
            TreeSnapshot(
                rounds=tuple(self._round(node.name) for node in aggregators),
                states="".join(self._state(device, trains) for device in devices),
            ),
        )

    def _state(self, device: NodeInfo, trains: set[str]) -> str:
        if not device.up:
            return AWAY
        return TRAINING if device.name in trains else self._befell.get(device.name, WAITING)

    def _round(self, name: str) -> RoundState:
        """An aggregator's part in the job whose round is open there; of several, in the one that waits for most."""
        parts = [one.state for one in self._activity.values() if one.node == name]
        state = max(parts, key=lambda part: (part.open, part.waits), default=RoundState())
        node = self._nodes.get(name)
        away = "" if node is None or node.up else node.why or "it has left"
        return msgspec.structs.replace(state, names=state.names[:SHOWN], away=away)

    def _aggregators(self) -> Iterable[TreeNode]:
        """All but the root, each after its parent."""
        fogs = sorted((node for node in self._nodes.values() if node.role == "fog"), key=lambda one: one.name)
        depths = {self._cloud: 0}
        while waiting := [fog for fog in fogs if fog.name not in depths]:
            placed = [fog for fog in waiting if fog.parent in depths]
            for fog in placed or waiting:  # A parent that is not known: it hangs below the cloud for now.
                depth = depths[fog.name] = depths.get(fog.parent, 0) + 1
                parent = fog.parent if fog.parent in depths else self._cloud
                yield TreeNode(fog.name, parent, "fog" if depth == 1 else f"fog {depth}")
