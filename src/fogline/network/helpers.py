"""The node's side of helper processes: how one is started, and how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from typing import BinaryIO


async def start_helper(program: str, log: BinaryIO, threads: int) -> tuple[Process, socket.socket]:
    """Start a module as a process that gets one end of a socket pair; gives the process and the other end.

    Args:
        program: the module; the number of its socket is its first argument.
        log: takes what it prints.
        threads: that its numerical libraries may use. They keep memory for each that they may start.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    count = str(threads)
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", program, str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count},
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def ending(code: int | None) -> str:
    """How a process with this status ended, to follow its name."""
    if code is None or code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
