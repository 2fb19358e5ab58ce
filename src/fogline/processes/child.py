"""The helper's side: what a process does that was started to help another one."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1


def channel_to_parent(how: signal.Signals = signal.SIGKILL) -> socket.socket:
    """The socket to who started this program with :func:`~fogline.processes.process.module`.

    From now on the program ends with its parent, and Ctrl-C is for the parent alone.

    Args:
        how: the signal that it gets when its parent is gone.
    """
    end_with_parent(how)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return socket.socket(fileno=int(sys.argv[1]))


def end_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Have the system send this process a signal when its parent is gone, also in the middle of a computation."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)


def restrain(niceness: int, memory: int | None) -> None:
    """Keep to what the owner of the machine allows, before foreign code is loaded.

    Args:
        niceness: added to that of the parent, so that others come first.
        memory: bytes of memory of its own that this process may take; None: no limit.
    """
    if niceness:
        os.nice(niceness)
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
