"""``fogline fog`` and ``fogline device``."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
from cyclopts import App

from fogline.cli.failures import UsageError
from fogline.cli.options import (
    COMMON,
    MONITORING,
    NO_PREDICTIONS,
    Attached,
    CommonOptions,
    Many,
    Monitoring,
    Predictions,
)
from fogline.cli.running import (
    Addresses,
    Endpoint,
    attach_server,
    attach_tracer,
    attaching,
    keep_up,
    listening_at,
    parent_address_of,
    watching,
)
from fogline.governance.policy.policy import read_policy
from fogline.governance.subject import Role
from fogline.network.node.membership import Membership
from fogline.network.node.process import NodeFolder, RunningNode, member, run
from fogline.network.node.services.parents import announce_move
from fogline.registry.release import NodeKind

FOG, DEVICE = Path("fogline-fog"), Path("fogline-device")

fog = App(name="fog")
device = App(name="device")


@fog.command(name="run")
def run_fog(
    *,
    folder: Path = FOG,
    listen: str = "127.0.0.1:7453",
    door: str = "127.0.0.1:7454",
    public: str = "",
    parent: Many = (),
    predictions: Predictions = NO_PREDICTIONS,
    monitoring: Monitoring = MONITORING,
    attached: Attached = False,
    options: CommonOptions = COMMON,
) -> None:
    """Run a fog until Ctrl-C or SIGTERM.

    Parameters
    ----------
    folder
        As fogline join made it.
    listen
        Address for members below it.
    door
        Address of the enrolment endpoint: for nodes that join with a token.
    public
        HOST:PORT by which others reach the first address; by default as it listens.
    parent
        NAME@HOST:PORT of a parent, the preferred one first; by default those it joined below.
    attached
        For programs that start this one.
    """
    _run_member("fog", folder, parent, (listen, door, public), "", (), predictions, monitoring, attached)


@device.command(name="run")
def run_device(
    *,
    folder: Path = DEVICE,
    client: str = "",
    set: Many = (),
    parent: Many = (),
    predictions: Predictions = NO_PREDICTIONS,
    monitoring: Monitoring = MONITORING,
    attached: Attached = False,
    options: CommonOptions = COMMON,
) -> None:
    """Run a device until Ctrl-C or SIGTERM.

    Parameters
    ----------
    folder
        As fogline join made it.
    client
        Whose data lies here, as tasks name their clients; by default the node's own name.
    set
        A parameter of tasks that holds here: --set folder=/data/scans. May be given several times.
    parent
        NAME@HOST:PORT of a parent, the preferred one first; by default those it joined below.
    attached
        For programs that start this one.
    """
    _run_member("device", folder, parent, None, client, set, predictions, monitoring, attached)


@fog.command(name="revert")
def revert_fog(model: str, /, *, folder: Path = FOG, options: CommonOptions = COMMON) -> None:
    """Have the fog on this machine go back to the version of a model before, also without a network.

    Parameters
    ----------
    model
        Its name.
    folder
        As fogline join made it.
    """
    _revert(folder, model)


@device.command(name="revert")
def revert_device(model: str, /, *, folder: Path = DEVICE, options: CommonOptions = COMMON) -> None:
    """Have the device on this machine go back to the version of a model before, also without a network.

    Parameters
    ----------
    model
        Its name.
    folder
        As fogline join made it.
    """
    _revert(folder, model)


@fog.command(name="move")
def move_fog(address: str, /, *, folder: Path = FOG, options: CommonOptions = COMMON) -> None:
    """Have the fog on this machine, which is stopped, tell the nodes below it at what address it will be reached.

    Parameters
    ----------
    address
        HOST:PORT, as --public will say it there.
    folder
        As fogline join made it.
    """
    membership, place = Membership.read(folder, "fog"), NodeFolder(folder)
    parent_address_of(address)
    with place.occupied(), place.open_database() as database:
        announce_move(database, membership.name, address)
    print(f"Whoever is connected to {membership.name} from now on hears that it will be at {address}.")


@fog.command(name="set-parent")
def set_parent_of_fog(parent: str, /, *, folder: Path = FOG, options: CommonOptions = COMMON) -> None:
    """Say where the parent of the fog on this machine is reached by now, or another one; it counts from its next start.

    Parameters
    ----------
    parent
        NAME@HOST:PORT.
    folder
        As fogline join made it.
    """
    _set_parent("fog", folder, parent)


@device.command(name="set-parent")
def set_parent_of_device(parent: str, /, *, folder: Path = DEVICE, options: CommonOptions = COMMON) -> None:
    """Say where the parent of the device on this machine is reached by now, or another one; it counts from its next
    start.

    Parameters
    ----------
    parent
        NAME@HOST:PORT.
    folder
        As fogline join made it.
    """
    _set_parent("device", folder, parent)


def _set_parent(role: Role, folder: Path, parent: str) -> None:
    membership, new = Membership.read(folder, role), parent_address_of(parent)
    others = tuple(known for known in membership.parents if known.name != new.name)
    msgspec.structs.replace(membership, parents=(new, *others)).write(folder)
    print(f"{membership.name} looks for {new.name} at {new.address} from its next start on.")


def _run_member(
    role: Role,
    folder: Path,
    parents: Sequence[str],
    addresses: Addresses | None,
    client: str,
    settings: Sequence[str],
    predictions: Predictions,
    monitoring: Monitoring,
    attached: bool,
) -> None:
    membership = Membership.read(folder, role)
    endpoint = Endpoint.of(monitoring, role, attached)
    place, watch = NodeFolder(folder), watching(attached, monitoring)
    if not read_policy(place.policy).found and not attached:
        print(f"There is no {place.policy} yet, so {membership.name} refuses every job.", file=sys.stderr)
    parent_addresses = [parent_address_of(text) for text in parents] or list(membership.parents)
    listening = None if addresses is None else listening_at(addresses)
    parameters = dict(_setting(text) for text in settings)
    tier: NodeKind = "device" if role == "device" else "fog"
    attach = attaching(attach_server(place, tier, predictions), attach_tracer(monitoring))

    def make() -> AbstractAsyncContextManager[RunningNode]:
        return member(place, parent_addresses, listening, client, parameters, watch, attach)

    run(keep_up(make, f"The {role} {membership.name}", watch, endpoint, attached, patient=not attached))


def _revert(folder: Path, model: str) -> None:
    from fogline.serving.update.manual_revert import request_revert  # A node that only trains has no memory for it.

    if not (folder / "records.sqlite").exists():
        raise UsageError(f"There is no node in {folder}; name its folder with --folder")
    told = request_revert(NodeFolder(folder), model)
    print("The node goes back now; its log tells how it went." if told else "The node goes back when it is started.")


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"'{text}' sets nothing; write --set parameter=value")
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    found = table["value"]
    if not isinstance(found, str | int | float | bool):
        raise UsageError(f"'{text}' sets a {type(found).__name__}; a site can set text, numbers, true and false")
    return key.strip(), found
