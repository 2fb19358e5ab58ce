"""A device that serves, as a process that can be killed: ``python -m tests.serving.node FOLDER PARENT ADDRESS``.

It writes ``listens ADDRESS`` and ``serves VERSION WHAT``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import fogline
from fogline.network.node.process import NodeFolder, member, until_told
from fogline.network.node.status import StatusChange
from fogline.network.transport.messages import ParentAddress
from fogline.serving.on_node import attaching
from fogline.serving.settings import Settings
from tests import warm
from tests.warm import Warm

ROOT = Path(__file__).parent.parent.parent


class Node:
    """Its process, from outside."""

    def __init__(self, folder: Path, home: ParentAddress) -> None:
        self._out = folder / "out.txt"
        self._arguments = [str(folder), home.name, home.address]
        self._process: Warm | None = None

    def start(self) -> None:
        paths = os.pathsep.join([str(Path(fogline.__file__).parent.parent), str(ROOT)])
        environment = {**os.environ, "GRPC_VERBOSITY": "NONE", "PYTHONPATH": paths}
        with self._out.open("wb") as out, self._out.with_suffix(".log").open("ab") as log:
            self._process = warm.start("tests.serving.node:main", self._arguments, environment, out, log)

    def end(self, how: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def last(self, what: str) -> str:
        """The newest that it said of something since it was started."""
        lines = [line.partition(" ") for line in self._out.read_text().splitlines()]
        return next((rest for word, _, rest in reversed(lines) if word == what), "")


def children(module: str, parent: int | None = None) -> list[int]:
    """Process ids of the programs of a module that a process (this one) has started."""
    found: list[int] = []
    for task in Path(f"/proc/{parent or os.getpid()}/task").iterdir():
        with contextlib.suppress(OSError):  # A thread, or a program, has just ended.
            for pid in (task / "children").read_text().split():
                with contextlib.suppress(OSError):
                    if module in Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"):
                        found.append(int(pid))
    return found


async def _run(folder: Path, home: ParentAddress) -> None:
    place = NodeFolder(folder)

    def tell(change: StatusChange) -> None:
        if change.what == "listens":
            print("listens", change.who, flush=True)
        elif change.what == "serves":
            print("serves", change.version, change.why, flush=True)

    attach = attaching(place, Settings(grpc="", pulse=0.1))
    async with member(place, [home], None, folder.name, on_change=tell, attach=attach) as up:
        await until_told(up)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_run(Path(sys.argv[1]), ParentAddress(sys.argv[2], sys.argv[3])))


if __name__ == "__main__":
    main()
