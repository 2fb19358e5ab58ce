"""``fogline algorithms``, ``datasets`` and ``engines``."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.failures import reported
from fogline.cli.options import Flag, Json


def add_to(app: App) -> None:
    """Add these commands."""
    for command in (algorithms, datasets, engines):
        app.command(command)


def algorithms(*, json: Json = False, debug: Flag = False) -> None:
    """List the methods, and the policies that select devices.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_algorithms

    with reported(debug):
        list_algorithms(json)


def datasets(*, json: Json = False, debug: Flag = False) -> None:
    """List the data sets that Fogline can load, and whether their files are here.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_datasets

    with reported(debug):
        list_datasets(json)


def engines(*, json: Json = False, debug: Flag = False) -> None:
    """List the training engines of every backend that is installed.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_engines

    with reported(debug):
        list_engines(json)
