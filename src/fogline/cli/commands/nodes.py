"""``fogline nodes``."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.commands.cloud import CLOUD
from fogline.cli.commands.jobs import Cloud
from fogline.cli.failures import reported
from fogline.cli.options import Flag, Json, group


def add_to(app: App) -> None:
    """Add these commands."""
    nodes = group("nodes", "Who is connected, in the whole tree.")
    nodes.command(list_nodes, name="list")
    nodes.command(show)
    nodes.command(revoke)
    app.command(nodes)


def list_nodes(*, json: Json = False, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """List the nodes that are or were connected.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.fleet import show_nodes

    with reported(debug):
        show_nodes(cloud, json)


def show(node: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Show what is known of a node.

    Parameters
    ----------
    node
        Its name.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.fleet import show_node

    with reported(debug):
        show_node(cloud, node)


def revoke(node: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Cut a node off, at once and until it joins with a new token.

    Parameters
    ----------
    node
        Its name.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.fleet import revoke_node

    with reported(debug):
        revoke_node(cloud, node)
