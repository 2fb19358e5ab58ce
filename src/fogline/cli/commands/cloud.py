"""``fogline cloud`` and ``fogline token``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fogline.cli.failures import reported
from fogline.cli.options import NO_PREDICTIONS, Attached, Flag, Predictions, group

CLOUD = Path("fogline-cloud")


def add_to(app: App) -> None:
    """Add these commands."""
    clouds = group("cloud", "The root of a tree: make one, run it.")
    clouds.command(init)
    clouds.command(run)
    app.command(clouds)
    tokens = group("token", "One-time tokens, with which nodes join.")
    tokens.command(create)
    app.command(tokens)


def init(*, folder: Path = CLOUD, name: str = "cloud", operator: str = "operator", debug: Flag = False) -> None:
    """Make a cloud: its authority, its certificate, an operator, and a developer's key that it trusts.

    Parameters
    ----------
    folder
        Where it lives. The operator's part of it can be moved to another machine.
    name
        Its name. Jobs call the first tier of their tree so.
    operator
        The operator's name.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.running import make_cloud

    with reported(debug):
        make_cloud(folder, name, operator)


def run(
    *,
    folder: Path = CLOUD,
    listen: str = "127.0.0.1:7443",
    door: str = "127.0.0.1:7444",
    public: str = "",
    store: Annotated[str, Parameter(env_var="FOGLINE_STORE")] = "",
    blobs: str = "",
    parallel: int = 4,
    predictions: Predictions = NO_PREDICTIONS,
    attached: Attached = False,
    debug: Flag = False,
) -> None:
    """Run the cloud until Ctrl-C or SIGTERM.

    Parameters
    ----------
    folder
        As fogline cloud init made it.
    listen
        Address for members.
    door
        Address for nodes that have no certificate yet and join with a token.
    public
        HOST:PORT by which others reach the first address; by default as it listens.
    store
        Where records are kept: a file, or postgresql://user:password@host/database (rather in FOGLINE_STORE, since
        other users see a program's arguments). By default a file in the folder.
    blobs
        Where models are kept: a folder, or s3://bucket/prefix?endpoint=...; by default in the folder.
    parallel
        Jobs that run at the same time.
    attached
        For programs that start this one.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.running import run_cloud

    with reported(debug):
        run_cloud(folder, (listen, door, public), store, blobs, parallel, predictions, attached)


def create(
    *,
    role: str = "device",
    site: str = "main",
    uses: int = 1,
    ttl: str = "1h",
    names: str | None = None,
    cloud: Annotated[Path, Parameter(env_var="FOGLINE_CLOUD")] = CLOUD,
    debug: Flag = False,
) -> None:
    """Make a token, and print the command that joins with it.

    Parameters
    ----------
    role
        What joins with it: fog, device, operator or developer.
    site
        Where that is.
    uses
        How many may join with it.
    ttl
        How long it is good for: 90s, 30min, 1h, 7d.
    names
        Only nodes with such names may join with it: --names 'press-*'.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.fleet import create_token

    with reported(debug):
        create_token(cloud, role, site, uses, ttl, names)
