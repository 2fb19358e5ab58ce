"""``fogline cloud``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fogline.cli.failures import UsageError
from fogline.cli.options import COMMON, NO_PREDICTIONS, Attached, CommonOptions, Predictions
from fogline.cli.running import attach_server, keep_up, listening_at, teller
from fogline.governance.errors import TrustError
from fogline.network.cloud.cloud import cloud as running_cloud
from fogline.network.cloud.cloud import create
from fogline.network.cloud.folder import AUTHORITY
from fogline.network.node.process import NodeFolder
from fogline.network.node.process import run as run_node

CLOUD = Path("fogline-cloud")

cloud = App(name="cloud")


@cloud.command
def init(
    *, folder: Path = CLOUD, name: str = "cloud", operator: str = "operator", options: CommonOptions = COMMON
) -> None:
    """Make a cloud: its authority, its certificate, an operator, and a developer's key that it trusts.

    Parameters
    ----------
    folder
        Where it lives. The operator's part of it can be moved to another machine.
    name
        Its name. Jobs call the first tier of their tree so.
    operator
        The operator's name.
    """
    try:
        create(folder, name, operator)
    except ValueError as error:
        raise UsageError(f"The cloud is not made: {error}") from None
    where = "" if folder == CLOUD else f" --folder {folder}"
    option = "" if folder == CLOUD else f" --cloud {folder}"
    print(f"The cloud '{name}' lives in {folder}. Keep {folder / AUTHORITY} secret: it decides who is a member.")
    print(f"Run it:       fogline cloud run{where}")
    print(f"Add a device: fogline token create --role device{option}")


@cloud.command
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
    options: CommonOptions = COMMON,
) -> None:
    """Run the cloud until Ctrl-C or SIGTERM.

    Parameters
    ----------
    folder
        As fogline cloud init made it.
    listen
        Address for members.
    door
        Address of the enrolment endpoint: for nodes that have no certificate yet and join with a token.
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
    """
    if not (folder / AUTHORITY).is_dir():
        raise TrustError(f"There is no cloud in {folder}; make one: fogline cloud init --folder {folder}")
    listening = listening_at((listen, door, public))
    tell = teller(attached)
    place = NodeFolder(folder, store, blobs)
    attach = attach_server(place, "cloud", predictions)
    run_node(
        keep_up(
            lambda: running_cloud(place, listening, parallel, on_change=tell, attach=attach),
            f"The cloud in {folder}",
            tell,
            attached,
            patient=False,
            hint=f"\nLook at it in the browser: fogline board --cloud {folder}",
        )
    )
