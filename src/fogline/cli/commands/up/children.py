"""Programs that ``fogline up`` starts: they tell what changes, and end with it, however it ends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fogline.decoding import UNREADABLE
from fogline.network.node.status import CHANGE, StatusChange

PATIENCE = 5.0
"""Seconds that a program has to end by itself."""
SAYS = "fogline: "
"""Begins what a program says to people; other lines are its log's."""
LONGEST_LINE = 1 << 20


@dataclass
class ChildProcess:
    """A program that runs as a child of this one."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    ready: asyncio.Future[StatusChange]
    """What it said when it was ready.

    Raises:
        ConnectionError: it ended before.
    """
    reading: asyncio.Task[None]


class Children:
    """All of them.

    Args:
        tell: told of every change, with the name of who said it.
        environment: of the programs, beside that of this one.
    """

    def __init__(self, tell: Callable[[str, StatusChange], None], environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self.all: dict[str, ChildProcess] = {}
        self._tell = tell
        self._ending = False

    async def start(self, name: str, arguments: Sequence[str], folder: Path) -> ChildProcess:
        """Start ``fogline`` with these arguments. What it says to people goes to ``node.log`` in its folder."""
        log = folder / "node.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "fogline", *arguments, "--attached"),
                stdin=asyncio.subprocess.PIPE,  # Its end is what the program ends with.
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us: we end them in order.
                limit=LONGEST_LINE,
                env=self._environment,
            )
        ready: asyncio.Future[StatusChange] = asyncio.get_running_loop().create_future()
        child = ChildProcess(name, process, log, ready, asyncio.create_task(self._read(name, process, log, ready)))
        self.all[name] = child
        return child

    async def stop(self) -> None:
        """End all, those that were started last first: nobody loses its parent before it has left."""
        self._ending = True
        for child in reversed(self.all.values()):
            if child.process.stdin is not None:
                child.process.stdin.close()
        await asyncio.gather(*(self._end(child) for child in self.all.values()))

    async def _end(self, child: ChildProcess) -> None:
        for stop in (None, child.process.terminate, child.process.kill):
            if stop is not None and child.process.returncode is None:
                stop()
            try:
                async with asyncio.timeout(PATIENCE):
                    await child.process.wait()
                break
            except TimeoutError:
                continue
        await child.reading

    async def _read(
        self, name: str, process: asyncio.subprocess.Process, log: Path, ready: asyncio.Future[StatusChange]
    ) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                change = CHANGE.decode(line)
            except UNREADABLE:
                continue  # Some library's words.
            if change.what == "ready" and not ready.done():
                ready.set_result(change)
            if not (self._ending and change.what == "lost"):  # That a node loses its parent in the end is no news.
                self._tell(name, change)
        await process.wait()
        why = last_words(log) or f"it ended with status {process.returncode}"
        if not ready.done():
            ready.set_exception(ConnectionError(f"{name} did not start: {why}"))
            ready.exception()  # Seen here, whether or not anybody waits for it.
        if not self._ending:
            self._tell(name, StatusChange("failed", why=why))


def last_words(log: Path) -> str:
    """What a program said of its own end, without the command's name."""
    lines = log.read_text(errors="replace").splitlines()
    return next((line.removeprefix(SAYS) for line in reversed(lines) if line.startswith(SAYS)), "")
