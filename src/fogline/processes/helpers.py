"""The node's side of helper processes: how one is started, and how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from typing import BinaryIO, Protocol


class Helper(Protocol):
    """A process that works for this one."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def returncode(self) -> int | None:
        """Its status, or minus the signal that ended it; None while it runs."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    async def wait(self) -> int:
        """Wait for its end; its status."""
        ...


async def start_helper(program: str, log: BinaryIO, threads: int) -> tuple[Helper, socket.socket]:
    """Start a module as a process that gets one end of a socket pair; gives the process and the other end.

    Args:
        program: the module; the number of its socket is its first argument.
        log: takes what it prints.
        threads: that its numerical libraries may use. They keep memory for each that they may start.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", program, str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **limited_to(threads)},
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def limited_to(threads: int) -> dict[str, str]:
    """Environment in which numerical libraries start no more threads than that."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def ending(code: int | None) -> str:
    """How a process with this status ended, to follow its name."""
    if code is None or code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
