"""``fogline models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from fogline.cli.commands.cloud import CLOUD
from fogline.cli.commands.jobs import Cloud
from fogline.cli.failures import reported
from fogline.cli.options import Flag, Json, group


def add_to(app: App) -> None:
    """Add these commands."""
    models = group("models", "Versions of models, and which nodes serve them.")
    models.command(list_models, name="list")
    for command in (show, promote, rollback, approve, pause, resume, advance, abort, export, link, retrain):
        models.command(command)
    models.command(import_, name="import")
    app.command(models)


def list_models(*, json: Json = False, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """List the models, their versions and where they are served.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import show_models

    with reported(debug):
        show_models(cloud, json)


def show(model: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Show a version: what it takes and gives, where it came from, who serves it and how it fares.

    Parameters
    ----------
    model
        NAME for the newest version, or NAME@VERSION.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import show_model

    with reported(debug):
        show_model(cloud, model)


def promote(
    model: str,
    /,
    *,
    rings: Annotated[tuple[float, ...], Parameter(negative="", show_default=False)] = (),
    ring_time: str | None = None,
    tiers: Annotated[tuple[Literal["device", "fog", "cloud"], ...], Parameter(negative="", show_default=False)] = (),
    shadow: Flag = False,
    cloud: Cloud = CLOUD,
    debug: Flag = False,
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
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import steer

    with reported(debug):
        steer(cloud, model, "promote", rings, ring_time, shadow, tiers)


def rollback(model: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Have all nodes go back to an older version.

    Parameters
    ----------
    model
        NAME for the version before, or NAME@VERSION.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import steer

    with reported(debug):
        steer(cloud, model, "rollback")


def approve(
    model: str, /, *, keys: Path | None = None, withdraw: Flag = False, cloud: Cloud = CLOUD, debug: Flag = False
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
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import approve_version

    with reported(debug):
        approve_version(cloud, model, keys, withdraw)


def pause(model: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Hold a rollout: who has the version keeps it, nobody else gets it.

    Parameters
    ----------
    model
        Its name.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import steer

    with reported(debug):
        steer(cloud, model, "pause")


def resume(model: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Go on with a rollout.

    Parameters
    ----------
    model
        Its name.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import steer

    with reported(debug):
        steer(cloud, model, "resume")


def advance(model: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Begin the next ring of a rollout now, whatever the one before has shown.

    Parameters
    ----------
    model
        Its name.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import steer

    with reported(debug):
        steer(cloud, model, "advance")


def abort(model: str, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """End a rollout: all nodes go back to the version before.

    Parameters
    ----------
    model
        Its name.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import steer

    with reported(debug):
        steer(cloud, model, "abort")


def export(model: str, file: Path | None = None, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Write a version into one file, with all that serves it.

    Parameters
    ----------
    model
        NAME for the newest version, or NAME@VERSION.
    file
        Where to, a file or a folder; by default NAME-VERSION.fogline here.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import export_version

    with reported(debug):
        export_version(cloud, model, file)


def import_(file: Path, /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Take a version in that was exported; it becomes the newest, and goes out when it is promoted.

    Parameters
    ----------
    file
        What export wrote.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import import_version

    with reported(debug):
        import_version(cloud, file)


def link(
    model: str,
    to: str,
    /,
    *,
    accuracy: float | None = None,
    budget: float | None = None,
    cloud: Cloud = CLOUD,
    debug: Flag = False,
) -> None:
    """Have a model ask a larger one, a tier above, where it is not sure.

    Parameters
    ----------
    model
        The small model's name.
    to
        The larger model's name.
    accuracy
        What the two must reach together, with as few questions as possible; from 0 to 1.
    budget
        Largest share of the samples that may be sent up, for the best accuracy; from 0 to 1.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import link_models

    with reported(debug):
        link_models(cloud, model, to, accuracy, budget)


def retrain(
    model: str,
    /,
    *,
    psi: float | None = None,
    cooldown: str = "1d",
    never: Flag = False,
    cloud: Cloud = CLOUD,
    debug: Flag = False,
) -> None:
    """Run the job of a model again when its inputs drift.

    Parameters
    ----------
    model
        Its name.
    psi
        Population stability index of an input at which that happens; 0.25 is usual.
    cooldown
        Time between two such runs at least: 6h, 1d.
    never
        No longer do so.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.models import retrain_on_drift

    with reported(debug):
        retrain_on_drift(cloud, model, psi, cooldown, never)
