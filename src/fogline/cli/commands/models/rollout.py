"""``fogline models promote``, ``rollback``, ``pause``, ``resume``, ``advance`` and ``abort``: where versions go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fogline.cli.commands.models.approval import catch_up
from fogline.cli.commands.models.names import name_only, parsed
from fogline.cli.connection import asked
from fogline.cli.options import OPERATOR, Flag, OperatorOptions, duration
from fogline.network.cloud.client import Client
from fogline.registry.model_report import Action, Steer
from fogline.registry.release import NodeKind


def promote(
    model: str,
    /,
    *,
    rings: Annotated[tuple[float, ...], Parameter(negative="", show_default=False)] = (),
    ring_time: str | None = None,
    tiers: Annotated[tuple[Literal["device", "fog", "cloud"], ...], Parameter(negative="", show_default=False)] = (),
    shadow: Flag = False,
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Have nodes serve a version.

    Parameters
    ----------
    model
        NAME for the newest version, or NAME@VERSION.
    rings
        Shares of the nodes that get it one after the other: --rings 0.1 --rings 1. By default all at once.
    ring_time
        Time that each share is watched at least: 30s, 10min, 6h. By default the same as before.
    tiers
        Which nodes serve the model: --tiers device --tiers fog. By default the same as before, at first all.
    shadow
        It first answers silently beside the version before, and is compared.
    """
    _steer(operator.folder, model, "promote", rings, ring_time, shadow, tiers)


def rollback(model: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Have all nodes go back to an older version.

    Parameters
    ----------
    model
        NAME for the version before, or NAME@VERSION.
    """
    _steer(operator.folder, model, "rollback")


def pause(model: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Hold a rollout: who has the version keeps it, nobody else gets it.

    Parameters
    ----------
    model
        Its name.
    """
    _steer(operator.folder, model, "pause")


def resume(model: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Go on with a rollout.

    Parameters
    ----------
    model
        Its name.
    """
    _steer(operator.folder, model, "resume")


def advance(model: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Begin the next ring of a rollout now, whatever the one before has shown.

    Parameters
    ----------
    model
        Its name.
    """
    _steer(operator.folder, model, "advance")


def abort(model: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """End a rollout: all nodes go back to the version before.

    Parameters
    ----------
    model
        Its name.
    """
    _steer(operator.folder, model, "abort")


def _steer(
    folder: Path,
    text: str,
    action: Action,
    rings: tuple[float, ...] = (),
    ring_time: str | None = None,
    shadow: bool = False,
    tiers: tuple[NodeKind, ...] = (),
) -> None:
    name, version = parsed(text) if action in ("promote", "rollback") else (name_only(text), 0)
    watched = None if ring_time is None else duration("--ring-time", ring_time)
    wanted = Steer(name, action, version, shadow, rings, watched, tiers)

    async def ask(client: Client) -> str:
        await catch_up(client, folder)
        return await client.steer(wanted)

    print(asked(folder, ask))
