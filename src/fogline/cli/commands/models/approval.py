"""``fogline models approve``: which versions nodes of the stable channel may serve, signed with the offline keys."""

from __future__ import annotations

from pathlib import Path

from fogline.cli.commands.models.names import chosen, parsed
from fogline.cli.connection import asked, facts_of, operator_folder
from fogline.cli.options import OPERATOR, Flag, OperatorOptions
from fogline.network.cloud.client import Client
from fogline.network.cloud.folder import RELEASE_KEYS
from fogline.registry.trust import operator as offline
from fogline.registry.trust.offline_metadata import read_offline_metadata


def approve(
    model: str, /, *, keys: Path | None = None, withdraw: Flag = False, operator: OperatorOptions = OPERATOR
) -> None:
    """Let nodes of the stable channel serve a version. It is signed here, with the key that no running cloud has.

    Parameters
    ----------
    model
        NAME for the newest version, or NAME@VERSION.
    keys
        Folder of the offline keys; by default release-keys in the operator's folder.
    withdraw
        Take the approval back.
    """
    name, version = parsed(model)
    place = keys or operator_folder(operator.folder) / RELEASE_KEYS
    by = facts_of(operator.folder).operator

    async def ask(client: Client) -> str:
        (model_report,) = await client.models(name)
        card = chosen(model_report, version)
        digest = model_report.digests[card.version]
        theirs = read_offline_metadata(await client.offline_metadata())
        if withdraw:
            signed = offline.withdraw(place, theirs, name, digest)
        else:
            signed = offline.approve(place, theirs, name, digest, by)
        adopted = await client.adopt(signed.encoded())
        what = "is no longer" if withdraw else "is"
        return f"{name} version {card.version} {what} approved. {adopted}"

    print(asked(operator.folder, ask))


async def catch_up(client: Client, folder: Path) -> None:
    """Hand in what was approved with the offline keys of an operator's folder, where the cloud has forgotten it: nodes
    believe no release beside older approvals."""
    place = operator_folder(folder) / RELEASE_KEYS
    own = offline.newer(place, read_offline_metadata(await client.offline_metadata())) if place.is_dir() else None
    if own is not None:
        print(await client.adopt(own.encoded()))
