"""``fogline models export`` and ``import``: a version as one file."""

from __future__ import annotations

from pathlib import Path

from fogline.cli.commands.models.names import chosen, parsed
from fogline.cli.connection import asked, check_role
from fogline.cli.failures import UsageError
from fogline.cli.options import OPERATOR, OperatorOptions
from fogline.monitoring.human import human_bytes
from fogline.network.cloud.client import Client


def export(model: str, file: Path | None = None, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Write a version into one file, with all that serves it.

    Parameters
    ----------
    model
        NAME for the newest version, or NAME@VERSION.
    file
        Where to, a file or a folder; by default NAME-VERSION.fogline here.
    """
    name, version = parsed(model)

    async def ask(client: Client) -> Path:
        (model_report,) = await client.models(name)
        card = chosen(model_report, version)
        default = f"{card.model}-{card.version}.fogline"
        path = Path(default) if file is None else file / default if file.is_dir() else file
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file that could be replaced; name another, or a folder")
        await client.export(name, card.version, path)
        return path

    path = asked(operator.folder, ask)
    print(f"{path} ({human_bytes(path.stat().st_size)}); serve it alone: fogline serve {path}")
    print(f"Take it in at another cloud: fogline models import {path}")


def import_(file: Path, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Take a version in that was exported; it becomes the newest, and goes out when it is promoted.

    Parameters
    ----------
    file
        What export wrote.
    """
    check_role(operator.folder, "Operator/Import")
    if not file.is_file():
        raise UsageError(f"There is no file {file}")
    print(asked(operator.folder, lambda client: client.take_in(file)))
