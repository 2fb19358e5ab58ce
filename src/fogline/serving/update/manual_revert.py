"""What somebody at the node's own keyboard wants of its models, with or without a network: to go back.

A request is a document in the records of the node, so that it is heard when the node starts if it does not run now; a
node that runs is woken by a signal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fogline.network.node.process import NodeFolder
from fogline.serving.update.updater import Updater
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.serving")
REQUESTS, PID = "serving-revert", "node.pid"
WHY = "somebody at the node wanted that"


def request_revert(place: NodeFolder, model: str) -> bool:
    """Have a node go back to the version of a model before; whether it runs and was told.

    Raises:
        StorageError: its records cannot be written.
    """
    with place.open_database() as database:
        database.put(REQUESTS, model, WHY.encode())
    if not place.runs():  # What a node that was killed has left may be the number of another program by now.
        return False
    try:
        os.kill(int((place.folder / PID).read_text()), signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def listening_for_reverts(place: NodeFolder, database: Database, updater: Updater) -> Generator[None]:
    """Carry out requests to go back: those that lie there, and those that come."""

    def carry_out() -> None:
        try:
            for model, _ in database.all(REQUESTS):
                database.delete(REQUESTS, model)
                try:
                    updater.revert(model, WHY)
                except LookupError as error:
                    log.warning("%s", error)
        except StorageError as error:
            log.error("what somebody wanted of the models cannot be read: %s", error)

    carry_out()
    path: Path = place.folder / PID
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, carry_out)
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        path.unlink(missing_ok=True)
