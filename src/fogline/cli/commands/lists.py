"""``fogline algorithms``, ``datasets`` and ``engines``."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.failures import reported
from fogline.cli.options import Flag


def add_to(app: App) -> None:
    """Add these commands."""
    for command in (algorithms, datasets, engines):
        app.command(command)


def algorithms(*, debug: Flag = False) -> None:
    """List the methods, and the policies that select devices.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_algorithms

    with reported(debug):
        list_algorithms()


def datasets(*, debug: Flag = False) -> None:
    """List the data sets that Fogline can load, and whether their files are here.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_datasets

    with reported(debug):
        list_datasets()


def engines(*, debug: Flag = False) -> None:
    """List the training engines of every backend that is installed.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_engines

    with reported(debug):
        list_engines()
