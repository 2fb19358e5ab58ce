"""From a finished job to answers of a device, and on to the next version."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fogline.network.node.process import NodeFolder
from fogline.serving.settings import Settings
from fogline.serving.update.manual_revert import PID, request_revert
from tests.serving.fleet import fleet

X = np.zeros((1, 1, 8, 8), np.float32)


@pytest.mark.slow
def test_a_wish_wakes_nobody_but_the_node(tmp_path: Path) -> None:
    """What a node that was killed has left may be the number of another program by now."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / PID).write_text(str(other.pid))
        assert not request_revert(NodeFolder(tmp_path), "digits")
        other.communicate(b"\n")
        assert other.returncode == 0


def test_a_device_serves_what_was_trained_and_then_the_next_version(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as made:
            record = await made.train()
            assert record.state == "finished"
            await made.until(lambda: made.serves("client-0", 1), "version 1 on the device")
            status, answer = await made.ask("client-0", X)
            assert status == 200, answer
            assert answer["model_version"] == "1"

            await made.train(start="digits@1")
            await made.until(lambda: made.serves("client-0", 2), "version 2 on the device")
            status, answer = await made.ask("client-0", X)
            assert (status, answer["model_version"]) == (200, "2")
            reports = made.publisher.model_reports
            await made.until(lambda: reports("digits")[0].outcomes[0].what == "committed", "the end of its probation")
            standing = await made.standing()
            assert [card.version for card in standing.cards] == [2, 1]
            assert standing.cards[0].lineage.parent == 1
            assert standing.cards[0].deltas[0].codec == "lossless"
            (outcome,) = standing.outcomes
            assert (outcome.node, outcome.version, outcome.what) == ("client-0", 2, "committed")

            # Somebody at the device sends it back.
            assert await asyncio.to_thread(request_revert, NodeFolder(tmp_path / "client-0"), "digits")
            await made.until(lambda: made.serves("client-0", 1), "version 1 again")

            # After a restart, without its parent, it answers with what it has.
            await made.stop("client-0")
            await made.stop("fog")
            await made.start("client-0", [made.home], None, Settings(grpc="", pulse=0.1))
            await made.until(lambda: "client-0" in made.http, "the server")
            status, answer = await made.ask("client-0", X)
            assert (status, answer["model_version"]) == (200, "1")

    asyncio.run(scene())
