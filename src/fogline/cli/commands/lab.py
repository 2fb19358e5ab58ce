"""``fogline lab``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fogline.cli.failures import reported
from fogline.cli.options import Flag, Json, group


def add_to(app: App) -> None:
    """Add these commands."""
    labs = group("lab", "Rehearse a deployment: nodes in network namespaces, links that are slow, lossy or cut.")
    labs.command(up)
    labs.command(list_labs, name="list")
    labs.command(set_link, name="set")
    labs.command(counters)
    labs.command(execute, name="exec")
    labs.command(down)
    labs.command(clean)
    app.command(labs)


def up(file: Path, /, *, debug: Flag = False) -> None:
    """Make the namespaces and links of a lab file, and keep them until Ctrl-C or fogline lab down.

    Parameters
    ----------
    file
        The lab file (TOML).
    debug
        Show the traceback of an error.
    """
    from fogline.cli.rehearsal import start

    with reported(debug):
        start(file)


def list_labs(*, json: Json = False, debug: Flag = False) -> None:
    """List the labs that run, with their nodes and addresses.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.rehearsal import show_labs

    with reported(debug):
        show_labs(json)


def set_link(node: str, changes: list[str], /, *, lab: str | None = None, debug: Flag = False) -> None:
    """Change the link above a node: fogline lab set fog-0 rate=64kbit loss=0.05 partition=true.

    Parameters
    ----------
    node
        The node whose link to its parent is meant, or a pattern.
    changes
        key=value, as in the lab file's links; up.rate=... changes one direction.
    lab
        Which lab; by default the only one.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.rehearsal import change_link

    with reported(debug):
        change_link(lab, node, changes)


def counters(*, lab: str | None = None, json: Json = False, debug: Flag = False) -> None:
    """Show what passed over every link.

    Parameters
    ----------
    lab
        Which lab; by default the only one.
    json
        Print an array of objects (JSON) instead of a table.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.rehearsal import show_counters

    with reported(debug):
        show_counters(lab, json)


def execute(
    node: str,
    command: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)],
    /,
    *,
    lab: str | None = None,
    debug: Flag = False,
) -> None:
    """Run a program on a node: fogline lab exec fog-0 -- ping -c 3 cloud.

    Parameters
    ----------
    node
        Where.
    command
        The program and its arguments, after --.
    lab
        Which lab; by default the only one.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.rehearsal import run_on

    with reported(debug):
        run_on(lab, node, command)


def down(*, lab: str | None = None, debug: Flag = False) -> None:
    """End a lab, with all that runs on its nodes.

    Parameters
    ----------
    lab
        Which lab; by default the only one.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.rehearsal import stop

    with reported(debug):
        stop(lab)


def clean(*, debug: Flag = False) -> None:
    """Remove what labs left that were killed.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    from fogline.cli.rehearsal import remove_dead

    with reported(debug):
        remove_dead()
