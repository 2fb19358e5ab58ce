"""Real processes for benchmarks of the network.

    python -m benchmarks.network.processes cloud|fog|device|crowd|blobs FOLDER …

Each prints one JSON line when it serves or is connected, and ends when its standard input is closed. A *crowd* is many
light devices in one process: each has a certificate and a connection of its own and speaks the whole protocol, but its
"training" is an update that is made up, so that what is measured is the network.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from benchmarks.network.lifetime import say, until_closed
from fogline.network.node.process import Listening, NodeFolder, member
from fogline.network.transport.messages import ParentAddress

HOST = os.environ.get("FOGLINE_BENCHMARK_HOST", "127.0.0.1")
"""Where cloud and fogs listen."""
LOCAL = Listening(f"{HOST}:0", f"{HOST}:0")


async def run_cloud(folder: Path) -> None:
    from fogline.network.cloud.cloud import cloud  # Not above: a device's memory is measured.

    async with cloud(NodeFolder(folder), LOCAL) as up:
        say(address=up.address, door=up.enrolment, pid=os.getpid())
        await until_closed()


async def run_member(folder: Path, parent: ParentAddress, serves: bool) -> None:
    connected = asyncio.Event()
    async with member(NodeFolder(folder), [parent], LOCAL if serves else None) as up:
        up.node.on_change = lambda *_: connected.set()
        await asyncio.wait_for(connected.wait(), 30)
        say(address=up.address, pid=os.getpid())
        await until_closed()


def main() -> None:
    kind, folder, *rest = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if kind == "blobs":
        from benchmarks.network.blobs import serve

        asyncio.run(serve(Path(folder), int(rest[0])))
        return
    parent = ParentAddress.parse(rest[0]) if rest else ParentAddress("", "")
    if kind == "cloud":
        asyncio.run(run_cloud(Path(folder)))
    elif kind == "crowd":
        from benchmarks.network.crowd import run_crowd

        asyncio.run(run_crowd(Path(folder), parent, rest[1].split(",")))
    else:
        asyncio.run(run_member(Path(folder), parent, kind == "fog"))


if __name__ == "__main__":
    main()
