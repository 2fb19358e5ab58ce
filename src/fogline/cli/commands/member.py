"""``fogline join``, ``fogline fog`` and ``fogline device``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fogline.cli.failures import reported
from fogline.cli.options import NO_PREDICTIONS, Attached, Flag, Many, Predictions, group

FOG, DEVICE = Path("fogline-fog"), Path("fogline-device")


def add_to(app: App) -> None:
    """Add these commands."""
    app.command(join)
    fogs = group("fog", "A node between the cloud and devices.")
    fogs.command(run_fog, name="run")
    fogs.command(revert_fog, name="revert")
    app.command(fogs)
    devices = group("device", "A node with data.")
    devices.command(run_device, name="run")
    devices.command(revert_device, name="revert")
    app.command(devices)


def join(
    url: str,
    /,
    *,
    token: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    name: str = "",
    role: str = "device",
    folder: Path | None = None,
    trust: Many = (),
    debug: Flag = False,
) -> None:
    """Become a member: make a key here, and get a certificate for it.

    Parameters
    ----------
    url
        A door, as NAME@HOST:PORT, or HOST:PORT where the node behind it is called cloud.
    token
        The token; @FILE reads it from a file, and - from standard input, so that it stands in no history.
    name
        Name of this node; by default the host's.
    role
        What the token is for: fog, device, operator or developer.
    folder
        Where the node lives; by default ./fogline-ROLE.
    trust
        A developer whose jobs may run here, as 'NAME ed25519:KEY': goes into the policy, if there is none yet.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.enrolling import join_cloud

    with reported(debug):
        join_cloud(url, token, name, role, folder, trust)


def run_fog(
    *,
    folder: Path = FOG,
    listen: str = "127.0.0.1:7453",
    door: str = "127.0.0.1:7454",
    public: str = "",
    parent: Many = (),
    predictions: Predictions = NO_PREDICTIONS,
    attached: Attached = False,
    debug: Flag = False,
) -> None:
    """Run a fog until Ctrl-C or SIGTERM.

    Parameters
    ----------
    folder
        As fogline join made it.
    listen
        Address for members below it.
    door
        Address for nodes that join with a token.
    public
        HOST:PORT by which others reach the first address; by default as it listens.
    parent
        NAME@HOST:PORT of a parent, the preferred one first; by default those it joined below.
    attached
        For programs that start this one.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.running import run_member

    with reported(debug):
        run_member("fog", folder, parent, (listen, door, public), "", (), predictions, attached)


def run_device(
    *,
    folder: Path = DEVICE,
    client: str = "",
    set: Many = (),
    parent: Many = (),
    predictions: Predictions = NO_PREDICTIONS,
    attached: Attached = False,
    debug: Flag = False,
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
    debug
        Show the traceback of an error.
    """
    from fogline.cli.running import run_member

    with reported(debug):
        run_member("device", folder, parent, None, client, set, predictions, attached)


def revert_fog(model: str, /, *, folder: Path = FOG, debug: Flag = False) -> None:
    """Have the fog on this machine go back to the version of a model before, also without a network.

    Parameters
    ----------
    model
        Its name.
    folder
        As fogline join made it.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.running import revert_model

    with reported(debug):
        revert_model(folder, model)


def revert_device(model: str, /, *, folder: Path = DEVICE, debug: Flag = False) -> None:
    """Have the device on this machine go back to the version of a model before, also without a network.

    Parameters
    ----------
    model
        Its name.
    folder
        As fogline join made it.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.running import revert_model

    with reported(debug):
        revert_model(folder, model)
