"""``fogline models keys``: the keys that releases are signed with, and the time for which their metadata holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from fogline.cli.connection import asked, operator_folder
from fogline.cli.listing import Listing, present
from fogline.cli.options import OPERATOR, Json, OperatorOptions
from fogline.network.cloud.client import Client
from fogline.network.cloud.folder import RELEASE_KEYS
from fogline.registry.trust import operator as offline
from fogline.registry.trust.names import OFFLINE, ONLINE
from fogline.registry.trust.offline_metadata import (
    OfflineMetadata,
    VerifiedOfflineMetadata,
    open_offline_metadata,
    read_offline_metadata,
)

Folder = Annotated[
    Path | None,
    Parameter(name="--keys", help="Folder of the offline keys; by default release-keys in the operator's folder."),
]

keys = App(name="keys", help="Keys of releases: show, replace, and sign anew what expires.")


@keys.command(name="list")
def list_keys(*, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """List the keys that releases are signed with, and when the metadata expires that people sign.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    shown = read_offline_metadata(asked(operator.folder, Client.offline_metadata))
    opened = open_offline_metadata(shown, shown.roots[0])
    listing = Listing(("role", "key", "whose", "version", "expires"), numbers=frozenset({"version"}))
    for role, key in _keys(opened).items():
        signed = {"root": opened.root, "targets": opened.targets}.get(role)
        version, expires = (None, None) if signed is None else (signed.version, signed.expires)
        whose = "offline" if role in OFFLINE else "online"
        item = {"role": role, "key": key, "whose": whose, "version": version, "expires": expires}
        listing.add(item, role, key[:16], whose, "" if version is None else str(version), _date(expires))
    present([listing], json)


@keys.command
def prolong(*, folder: Folder = None, operator: OperatorOptions = OPERATOR) -> None:
    """Sign the root and the approvals anew, so that they hold for their whole time again. It is signed here."""
    place = folder or operator_folder(operator.folder) / RELEASE_KEYS

    async def ask(client: Client) -> str:
        signed, adopted = await _handed_in(client, lambda theirs: offline.prolong(place, theirs))
        root, targets = signed.root.expires, signed.targets.expires
        return f"The root holds until {_date(root)}, the approvals (targets) until {_date(targets)}. {adopted}"

    print(asked(operator.folder, ask))


@keys.command
def rotate(
    which: Literal["online", "offline"], /, *, folder: Folder = None, operator: OperatorOptions = OPERATOR
) -> None:
    """Replace keys: the old ones count no more, and nodes follow by themselves. It is signed here.

    Parameters
    ----------
    which
        online, for the cloud's own (timestamp, snapshot, rounds), as after a break-in; offline, for the operator's
        (root, targets).
    """
    place = folder or operator_folder(operator.folder) / RELEASE_KEYS

    async def ask(client: Client) -> str:
        offline.check_keys(place, read_offline_metadata(await client.offline_metadata()))
        if which == "offline":
            _, adopted = await _handed_in(client, lambda theirs: offline.rotate_offline(place, theirs))
            made = f"New keys for {' and '.join(OFFLINE)} are in {place}: keep a copy."
            return f"{made} The old ones count no more. {adopted}"
        signers = await client.new_release_keys()
        _, adopted = await _handed_in(client, lambda theirs: offline.rotate_online(place, theirs, signers))
        return f"The cloud has new keys for {', '.join(ONLINE)}. The old ones count no more. {adopted}"

    print(asked(operator.folder, ask))


async def _handed_in(
    client: Client, sign: Callable[[OfflineMetadata], OfflineMetadata]
) -> tuple[VerifiedOfflineMetadata, str]:
    """Sign what follows the cloud's metadata, and hand it in: the metadata, and what the cloud says."""
    signed = sign(read_offline_metadata(await client.offline_metadata()))
    return open_offline_metadata(signed, signed.roots[0]), await client.adopt(signed.encoded())


def _keys(opened: VerifiedOfflineMetadata) -> Mapping[str, str]:
    """Fingerprints by role."""
    found = {role: opened.root.roles[role].keyids[0] for role in ("root", "targets", "timestamp", "snapshot")}
    delegations = opened.targets.delegations
    return found if delegations is None else {**found, "rounds": next(iter(delegations.keys))}


def _date(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d")
