"""The tree as people see it: who is connected, trains, was lost or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree as RichTree

from fogline.cli.commands.up.plan import PlannedNode
from fogline.cli.commands.up.serving_status import ServingStatus
from fogline.jobs.tree import Tree
from fogline.monitoring.human import human_bytes
from fogline.network.node.status import StatusChange

BAD = ("lost", "refused", "failed")
SAME = ("connected", "loading", "training", "lost", "refused", "failed")
"""Changes that give the state its name."""
STATES = {"ready": "connecting", "idle": "connected"} | {what: what for what in SAME}
COLOURS = {
    "training": "cyan",
    "loading": "blue",
    "connected": "green",
    "lost": "yellow",
    "refused": "red",
    "failed": "red",
}
SHOWN = 12
"""Devices shown below one aggregator."""
WIDTH = 28
"""Columns of the names, with the lines before them."""


@dataclass
class NodeState:
    """What is shown of a node."""

    planned: PlannedNode
    state: str = "starting"
    why: str = ""
    down: int = 0
    up: int = 0
    children: list[NodeState] = field(default_factory=list["NodeState"])


class TreeState:
    """All nodes, by what they told.

    Args:
        root: the cloud's name.
        tree: of the job, for the names of its tiers.
    """

    def __init__(self, root: str, tree: Tree) -> None:
        self.root = root
        self.nodes = {root: NodeState(PlannedNode(root, "cloud", ""))}
        self.serving = ServingStatus()
        self.lost: set[str] = set()
        """Nodes that were lost, refused a job or failed, if only for a while."""
        self._tiers = {node: tier for tier in tree.names for node in tree.nodes(tier)}

    def add(self, planned: Sequence[PlannedNode]) -> None:
        """Nodes that will come, parents first."""
        for each in planned:
            node = self.nodes[each.name] = NodeState(each)
            self.nodes[each.parent].children.append(node)

    def tell(self, name: str, change: StatusChange) -> bool:
        """Take a change in; whether a node's state is another now."""
        node = self.nodes[name]
        if change.what == "bytes":
            node.down += change.down
            node.up += change.up
            return False
        if change.what == "listens":
            self.serving.opened(name, change.who)
            return False
        if change.what == "serves":
            self.serving.serves(name, change.version)
            return False
        state = "connected" if name == self.root and change.what == "ready" else STATES[change.what]
        before, node.state, node.why = node.state, state, change.why if state in BAD else ""
        if state in BAD:
            self.lost.add(name)
        return before != state

    def count(self, role: str, *states: str) -> tuple[int, int]:
        """How many nodes of a role are in one of those states, and how many there are."""
        nodes = [node for node in self.nodes.values() if node.planned.role == role]
        return sum(node.state in states for node in nodes), len(nodes)

    def traffic(self) -> dict[str, float]:
        """Bytes of blobs below each tier, as rows of a run have them."""
        row: dict[str, float] = {}
        for name, node in self.nodes.items():
            if node.planned.role != "device":
                tier = self._tiers.get(name, node.planned.role)
                row[f"down/{tier}"] = row.get(f"down/{tier}", 0.0) + node.down
                row[f"up/{tier}"] = row.get(f"up/{tier}", 0.0) + node.up
        return row

    def picture(self) -> RenderableType:
        """The tree as a picture for a terminal."""
        root = self.nodes[self.root]
        tree = RichTree(_label(root, 0), guide_style="dim")
        _branch(tree, root, 1)
        return tree


def _branch(branch: RichTree, node: NodeState, depth: int) -> None:
    inner = [child for child in node.children if child.planned.role != "device"]
    devices = [child for child in node.children if child.planned.role == "device"]
    for child in [*inner, *devices[:SHOWN]]:
        _branch(branch.add(_label(child, depth)), child, depth + 1)
    if len(devices) > SHOWN:
        busy = sum(device.state == "training" for device in devices[SHOWN:])
        branch.add(f"[dim]and {len(devices) - SHOWN} more, of which {busy} train[/]")


def _label(node: NodeState, depth: int) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_column(width=max(8, WIDTH - 4 * depth), no_wrap=True, overflow="ellipsis")
    row.add_column(width=11, no_wrap=True)
    row.add_column(no_wrap=True, overflow="ellipsis")
    colour = COLOURS.get(node.state, "dim")
    traffic = f"[dim]↓ {human_bytes(node.down)}  ↑ {human_bytes(node.up)}[/]" if node.down or node.up else ""
    row.add_row(escape(node.planned.name), f"[{colour}]{node.state}[/]", escape(node.why) or traffic)
    return row
