"""``fogline cloud``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from fogline.cli.connection import asked, facts_of, operator_folder
from fogline.cli.failures import UsageError
from fogline.cli.options import (
    COMMON,
    MONITORING,
    NO_PREDICTIONS,
    OPERATOR,
    Attached,
    CommonOptions,
    Monitoring,
    OperatorOptions,
    Predictions,
)
from fogline.cli.people_page import people_page_of
from fogline.cli.running import (
    Endpoint,
    attach_server,
    attach_tracer,
    attaching,
    keep_up,
    listening_at,
    parent_address_of,
    watching,
)
from fogline.governance.errors import TrustError
from fogline.network.cloud.client import Client
from fogline.network.cloud.cloud import CloudUp, create
from fogline.network.cloud.cloud import cloud as running_cloud
from fogline.network.cloud.folder import AUTHORITY, FACTS
from fogline.network.node.process import NodeFolder
from fogline.network.node.process import run as run_node
from fogline.storage.atomic import write_file

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
    monitoring: Monitoring = MONITORING,
    attached: Attached = False,
    options: CommonOptions = COMMON,
) -> None:
    """Run the cloud until Ctrl-C or SIGTERM. With sign-in.toml in its folder it serves a page for people who sign in.

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
    endpoint = Endpoint.of(monitoring, "cloud", attached)
    watch = watching(attached, monitoring)
    place = NodeFolder(folder, store, blobs)
    attach = attaching(attach_server(place, "cloud", predictions), attach_tracer(monitoring))

    def make() -> AbstractAsyncContextManager[CloudUp]:
        return running_cloud(place, listening, parallel, on_change=watch, attach=attach)

    paged = people_page_of(folder, make)
    run_node(
        keep_up(
            paged.make,
            f"The cloud in {folder}",
            watch,
            endpoint,
            attached,
            patient=False,
            hint=f"\nLook at it in the browser: fogline board --cloud {folder}{paged.hint}",
        )
    )


@cloud.command
def move(address: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Tell the nodes below the cloud, which runs, where it will be reached soon: they dial that first from then on.

    Parameters
    ----------
    address
        HOST:PORT, as --public will say it there.
    """

    async def ask(client: Client) -> str:
        return await client.move(address)

    print(asked(operator.folder, ask))


@cloud.command(name="set-address")
def set_address(address: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Say in an operator's folder at what address the cloud is reached by now.

    Parameters
    ----------
    address
        HOST:PORT.
    """
    parent_address_of(address)
    facts = msgspec.structs.replace(facts_of(operator.folder), address=address)
    write_file(operator_folder(operator.folder) / FACTS, msgspec.json.encode(facts))
    print(f"The cloud {facts.name} is asked at {address} from now on.")
