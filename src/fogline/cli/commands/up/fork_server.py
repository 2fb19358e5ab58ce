"""The fork server of ``fogline up``: its nodes' workers share what they import."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from fogline.network.worker.forks import VARIABLE
from fogline.processes.process import limited_to

PROGRAM = "fogline.network.worker.forkserver"
POSSIBLE = sys.platform == "linux"
"""Elsewhere a process that has imported numerical libraries cannot be forked safely."""


class ForkServerProcess:
    """A fork server, for as long as it is needed.

    Args:
        log: takes what it says.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._stack = ExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        if POSSIBLE:
            # Not in the nodes' folder: a socket's path has at most 107 characters. Only this user may enter it.
            self._folder = Path(tempfile.mkdtemp(prefix="fogline-"))
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """What nodes must know of it."""
        return {} if self._folder is None else {VARIABLE: str(self._folder / "forks")}

    async def start(self, modules: Sequence[str]) -> str | None:
        """Start it, and wait until it has imported these modules; why that was not possible, or None."""
        if self._folder is None:
            return f"workers cannot share memory on {sys.platform}"
        with self._log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", PROGRAM, self.environment[VARIABLE]),
                stdin=asyncio.subprocess.PIPE,  # Its end is what the program ends with.
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **limited_to(1)},  # A process with threads cannot be forked safely.
            )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{name}\n" for name in (*modules, "")).encode())
        ready = await process.stdout.readline()
        return None if ready else f"the process that workers are forked from did not start; its log is {self._log}"

    async def stop(self) -> None:
        """End it; its workers end with it."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
        self._stack.close()
