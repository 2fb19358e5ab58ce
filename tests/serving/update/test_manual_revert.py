"""What somebody at a node's keyboard wants, heard by the node and by nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fogline.network.node.process import NodeFolder
from fogline.serving.update.manual_revert import PID, listening_for_reverts, request_revert
from tests.serving.update.updating import MODEL, Edge, Parent, looped

SLEEPER = "import signal, time; signal.signal(signal.SIGHUP, lambda *_: exit(7)); print(flush=True); time.sleep(60)"


@contextmanager
def somebody() -> Generator[subprocess.Popen[bytes]]:
    """A program that has nothing to do with the node, and ends when it is told to reload."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            yield other
        finally:
            other.kill()


def test_a_number_that_a_killed_node_left_behind_is_not_signalled(tmp_path: Path) -> None:
    with somebody() as other:
        (tmp_path / PID).write_text(str(other.pid))
        assert not request_revert(NodeFolder(tmp_path), "digits")
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.3)


@looped
async def test_a_node_that_runs_is_signalled(tmp_path: Path) -> None:
    place = NodeFolder(tmp_path / "node")
    place.folder.mkdir()
    (place.folder / PID).write_text("1234567")  # Of the time before.
    async with Edge(tmp_path, Parent()) as edge:
        await edge.serve(1, 1)
        await edge.serve(2, 2)
        with place.occupied(), place.open_database() as database, listening_for_reverts(place, database, edge.updater):
            assert int((place.folder / PID).read_text()) == os.getpid()
            assert request_revert(place, MODEL)
            await edge.until(lambda edge: edge.server.live == 1 and edge.idle)
    assert not (place.folder / PID).exists()
