"""``fogline token`` and ``fogline nodes``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from msgspec import to_builtins
from rich.console import Console
from rich.markup import escape

from fogline.cli.connection import asked, facts_of, operator_folder
from fogline.cli.durations import duration
from fogline.cli.failures import UsageError
from fogline.cli.listing import Listing, present
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Role
from fogline.jobs.errors import suggest
from fogline.monitoring.human import human_bytes, human_seconds
from fogline.network.cloud.client import Client
from fogline.network.cloud.cloud import SIGNING
from fogline.network.cloud.job_store import LogLine, NodeInfo
from fogline.network.cloud.registrar import NewToken

SHOWN = 14 * 86400.0
"""Seconds for which a notice of the cloud's is shown with the nodes."""


def create_token(folder: Path, role: str, site: str, uses: int, ttl: str, names: str | None) -> None:
    """Make a token, and print what joins with it.

    Raises:
        UsageError: an option makes no sense.
        OperatorApiError: the cloud refuses, or does not answer.
    """
    roles = [known for known in get_args(Role) if known != "cloud"]
    if role not in roles:
        raise UsageError(f"'{role}' is no role that can join{suggest(role, roles)}")
    life = duration("--ttl", ttl)
    wanted = NewToken(cast("Role", role), site, uses, life, names)

    async def ask(client: Client) -> str:
        return await client.token(wanted)

    token, facts = asked(folder, ask), facts_of(folder)
    key = operator_folder(folder) / SIGNING
    trust = ""
    if role in ("fog", "device") and key.exists():
        trust = f" --trust '{SigningKey.load(key).signer.text}'"
    how_many = "once" if uses == 1 else f"{uses} times"
    Console(stderr=True).print(
        f"[dim]Good {how_many}, for {human_seconds(life)}. On the new {role}, run:[/]", highlight=False
    )
    print(f"fogline join {facts.name}@{facts.enrolment} --role {role} --token {token}{trust}")


def show_nodes(folder: Path, json: bool) -> None:
    """List the nodes, in the order of the tree, and say on standard error what an operator must know."""

    async def ask(client: Client) -> tuple[list[NodeInfo], list[LogLine]]:
        return await client.nodes(), await client.notices()

    nodes, notices = asked(folder, ask)
    for text in warnings(nodes, notices):
        print(f"Warning: {text}", file=sys.stderr)
    listing = Listing(
        ("node", "role", "below", "state", "for", "offers"),
        empty="No node has ever been connected; let one join: fogline token create --role device",
    )
    for depth, node in in_tree_order(nodes):
        state = "[green]connected[/]" if node.up else f"[yellow]away[/] {escape(node.why)}"
        since = human_seconds(max(0.0, time.time() - node.since))
        indented = "  " * depth + escape(node.name)
        listing.add(to_builtins(node), indented, node.role, escape(node.parent), state, since, escape(_offers(node)))
    present([listing], json)


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


def show_node(folder: Path, name: str) -> None:
    """All that is known of a node.

    Raises:
        UsageError: there is none of that name.
    """
    nodes = {node.name: node for node in asked(folder, Client.nodes)}
    if name not in nodes:
        raise UsageError(f"No node named '{name}' has been connected{suggest(name, nodes)}")
    node = nodes[name]
    below = [other.name for other in nodes.values() if other.parent == name and other.up]
    facts = {
        "node": node.name,
        "role": node.role,
        "below": node.parent,
        "state": "connected" if node.up else f"away: {node.why}",
        "address": node.address,
        "warning": node.warning,
        "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(node.since)),
        "offers": _offers(node),
        "mains": {True: "yes", False: "no", None: "cannot tell"}[node.offers.on_mains],
        "children": ", ".join(below),
    }
    for key, value in facts.items():
        if value:
            print(f"{key:<10}{value}")


def revoke_node(folder: Path, name: str) -> None:
    """Cut a node off."""

    async def ask(client: Client) -> str:
        return await client.revoke(name)

    print(asked(folder, ask))


def _offers(node: NodeInfo) -> str:
    offers = node.offers
    if not offers.cpus:
        return ""
    parts = [f"{offers.cpus} processors", human_bytes(offers.memory_bytes), *offers.frameworks]
    return ", ".join(parts + [f"data: {tag}" for tag in offers.tags])
