"""Small programs that run on a lab's nodes, and what they measured."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator
from typing import IO, cast

from fogline.lab import RunningLab
from tests.patience import PATIENCE

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 9)); print("up", flush=True)
while True:
    s.sendto(*s.recvfrom(2000))
"""
PING = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 9)); s.settimeout(float(sys.argv[3]))
for _ in range(int(sys.argv[2])):
    t = time.perf_counter(); s.send(b"x")
    try:
        s.recv(9); print(time.perf_counter() - t)
    except TimeoutError:
        pass
"""
FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 9))
for _ in range(int(sys.argv[2])):
    s.send(bytes(int(sys.argv[3]))); time.sleep(0.0005)
"""
SINK = """
import socket
l = socket.create_server(("0.0.0.0", 80)); print("up", flush=True)
while True:
    c, _ = l.accept()
    while c.recv(1 << 18): pass
    c.send(b"!"); c.close()
"""
CONTROL = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80)); s.shutdown(socket.SHUT_WR)
print(int(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).startswith(b"cubic")))
"""
SEND = """
import socket, sys, time
t = time.perf_counter(); s = socket.create_connection((sys.argv[1], 80))
s.sendall(bytes(int(sys.argv[2]))); s.shutdown(socket.SHUT_WR); s.recv(1); print(time.perf_counter() - t)
"""


def output(lab: RunningLab, node: str, program: str, *arguments: object, timeout: float = PATIENCE) -> list[float]:
    """The numbers that a program prints on a node."""
    with start(lab, node, program, *arguments) as running:
        text, _ = running.communicate(timeout=timeout)
    return [float(line) for line in text.splitlines()]


def start(lab: RunningLab, node: str, program: str, *arguments: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-S", "-c", program, *map(str, arguments)]
    return lab.spawn(node, argv, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def serving(lab: RunningLab, node: str, program: str) -> Generator[None]:
    """A server runs on a node."""
    with start(lab, node, program) as running:
        assert cast("IO[str]", running.stdout).readline() == "up\n"
        try:
            yield
        finally:
            running.kill()
