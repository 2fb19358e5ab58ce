"""``fogline nodes``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from cyclopts import App
from msgspec import to_builtins
from rich.markup import escape

from fogline.cli.connection import asked
from fogline.cli.failures import UsageError
from fogline.cli.listing import Listing, present, print_json
from fogline.cli.options import OPERATOR, Json, OperatorOptions
from fogline.cli.telling import tell
from fogline.jobs.errors import suggest
from fogline.monitoring.human import human_bytes, human_seconds
from fogline.network.cloud.client import Client
from fogline.network.cloud.records import LogLine, NodeInfo

SHOWN = 14 * 86400.0
"""Seconds for which a notice of the cloud's is shown with the nodes."""


nodes = App(name="nodes")


@nodes.command(name="list")
def list_nodes(*, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """List the nodes that are or were connected.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """

    async def ask(client: Client) -> tuple[list[NodeInfo], list[LogLine]]:
        return await client.nodes(), await client.notices()

    known, notices = asked(operator.folder, ask)
    for text in warnings(known, notices):
        tell(f"Warning: {text}", sys.stderr)
    listing = Listing(
        ("node", "role", "below", "state", "for", "offers"),
        empty="No node has ever been connected; let one join: fogline token create --role device",
    )
    for depth, node in in_tree_order(known):
        state = "[green]connected[/]" if node.up else f"[yellow]away[/] {escape(node.why)}"
        since = human_seconds(max(0.0, time.time() - node.since))
        indented = "  " * depth + escape(node.name)
        listing.add(to_builtins(node), indented, node.role, escape(node.parent), state, since, escape(_offers(node)))
    present([listing], json)


@nodes.command
def show(node: str, /, *, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """Show what is known of a node.

    Parameters
    ----------
    node
        Its name.
    json
        Print an object (JSON) instead of lines.
    """
    known = {found.name: found for found in asked(operator.folder, Client.nodes)}
    if node not in known:
        raise UsageError(f"No node named '{node}' has been connected{suggest(node, known)}")
    found = known[node]
    below = [other.name for other in known.values() if other.parent == node and other.up]
    if json:
        print_json({**to_builtins(found), "children": below})
        return
    facts = {
        "node": found.name,
        "role": found.role,
        "below": found.parent,
        "state": "connected" if found.up else f"away: {found.why}",
        "address": found.address,
        "warning": found.warning,
        "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.since)),
        "offers": _offers(found),
        "mains": {True: "yes", False: "no", None: "cannot tell"}[found.offers.on_mains],
        "children": ", ".join(below),
    }
    for key, value in facts.items():
        if value:
            print(f"{key:<10}{value}")


@nodes.command
def revoke(node: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Cut a node off, at once and until it joins with a new token.

    Parameters
    ----------
    node
        Its name.
    """

    async def ask(client: Client) -> str:
        return await client.revoke(node)

    print(asked(operator.folder, ask))


@nodes.command
def forget(node: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Take a node off the list that was revoked. It stays cut off, and the audit log keeps what it says.

    Parameters
    ----------
    node
        Its name.
    """

    async def ask(client: Client) -> str:
        return await client.forget_node(node)

    print(asked(operator.folder, ask))


def warnings(nodes: Sequence[NodeInfo], notices: Sequence[LogLine]) -> list[str]:
    """What an operator must know of the cloud and of nodes, in sentences."""
    recent = [line for line in notices if time.time() - line.at < SHOWN]
    said = [f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(line.at))}: {line.why}" for line in recent]
    return said + [node.warning for node in nodes if node.warning]


def in_tree_order(nodes: Sequence[NodeInfo]) -> list[tuple[int, NodeInfo]]:
    """Nodes with their depth, each below its parent."""
    names = {node.name for node in nodes}
    ordered: list[tuple[int, NodeInfo]] = []
    waiting = [(0, node) for node in reversed(nodes) if node.parent not in names]
    while waiting:
        depth, node = waiting.pop()
        ordered.append((depth, node))
        waiting += [(depth + 1, child) for child in reversed(nodes) if child.parent == node.name]
    return ordered


def _offers(node: NodeInfo) -> str:
    offers = node.offers
    if not offers.cpus:
        return ""
    parts = [f"{offers.cpus} processors", human_bytes(offers.memory_bytes), *offers.frameworks]
    return ", ".join(parts + [f"data: {tag}" for tag in offers.tags])
