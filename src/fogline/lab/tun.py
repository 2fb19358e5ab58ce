"""TUN devices inside of network namespaces."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager

DEVICE = "/dev/net/tun"
NAME = "lab0"
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000

_libc = ctypes.CDLL(None, use_errno=True)


def open_tun(namespace: str) -> int:
    """A descriptor that reads and writes the IP packets of a new device ``lab0`` in the namespace at that path.

    Raises:
        OSError: the namespace or the device cannot be had.
    """
    with inside(namespace):
        descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", NAME.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    return descriptor


@contextmanager
def inside(namespace: str) -> Generator[None]:
    """This thread is in that network namespace for a while."""
    with open("/proc/thread-self/ns/net") as home, open(namespace) as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def new_namespace() -> int:
    """A descriptor of a new network namespace without a name, which lives as long as something uses it."""
    with open("/proc/thread-self/ns/net") as home:
        if _libc.unshare(CLONE_NEWNET) != 0:
            _raise()
        made = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _enter(home.fileno())
    return made


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        _raise()


def _raise() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
