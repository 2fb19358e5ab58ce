"""Programs that tests start as processes of their own, forked from a parent that has imported what they need.

Python, NumPy and gRPC take a second of work to import, which hundreds of short programs need not do again. Each is a
process as any other: it can be killed, and only memory is shared. Who tests how a program *starts* starts it anew.

Run as a program it is that parent: ``python -m tests.warm SOCKET MODULE…``. It ends with its standard input.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pytest

from fogline.cli.commands.up.fork_server import POSSIBLE
from fogline.network.worker.forks import LARGEST, VARIABLE, Fork, Forked, ForkRefused, WorkerExited
from fogline.network.worker.forkserver import ForkServer, become, leave, warm
from fogline.network.worker.program import serve
from fogline.processes.messages import decoder, encode
from fogline.processes.process import limited_to

ROOT = Path(__file__).parents[1]
MODULES = (
    "fogline.cli.app",
    "fogline.cli.commands.cloud",
    "fogline.cli.commands.jobs.group",
    "fogline.cli.commands.join",
    "fogline.cli.commands.member",
    "fogline.cli.commands.models.group",
    "fogline.cli.commands.nodes",
    "fogline.cli.commands.token",
    "fogline.monitoring.folder",
    "fogline.monitoring.result",
    "fogline.network.cloud.cloud",
    "fogline.network.node.process",
    "sklearn.linear_model",
    "fogline.serving.on_node",
    "tests.network.processes",
    "tests.serving.node",
)
PROGRAM = "FOGLINE_TEST_PROGRAM"
"""Tells a new process what to be; one that is not told is a worker."""
REPLIES = decoder(Forked | ForkRefused | WorkerExited)


class Warm:
    """A program that runs, with what tests use of :class:`subprocess.Popen`."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection = connection
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its status; None while it runs."""
        with suppress(BlockingIOError):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its status."""
        if self.returncode is not None:
            return self.returncode
        self._connection.settimeout(timeout)
        status: int = _reply(self._connection, WorkerExited).status
        self._connection.close()
        self.returncode = status
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def start(
    program: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdout: IO[Any],
    stderr: IO[Any],
    stdin: IO[Any] | None = None,
    folder: Path = ROOT,
) -> Warm:
    """Start ``module:function`` as a program with these arguments."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(_parent())
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull, "rb") as nothing:
        request = encode(Fork(1, {**environment, PROGRAM: json.dumps([program, *arguments])}, str(folder)))
        socket.send_fds(connection, [request], [stdout.fileno(), theirs.fileno()])
        socket.send_fds(ours, [b"."], [stream.fileno() for stream in (stdin or nothing, stdout, stderr)])
        return Warm(connection, _reply(connection, Forked).pid)


@contextmanager
def workers(*more: str) -> Generator[None]:
    """Nodes that start meanwhile, in this process or below it, have their workers forked from the parent too; with
    ``more`` modules, from one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        if POSSIBLE:
            patch.setenv(VARIABLE, _parent(*more))
        yield


def _reply(connection: socket.socket, kind: Any) -> Any:
    reply = REPLIES.decode(connection.recv(LARGEST))
    assert isinstance(reply, kind), reply
    return reply


@cache
def _parent(*more: str) -> str:
    """Where the parent of this test run listens; it is started when it is first needed."""
    folder = tempfile.mkdtemp(prefix="fogline-tests-")
    path = f"{folder}/warm"
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, **limited_to(1), "GRPC_VERBOSITY": "NONE", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "tests.warm", path, *more]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline(), "the parent of the tests' programs did not start"

    def end() -> None:
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return path


def main() -> None:
    """The parent; in every program that it forks, that program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is pytest's; this ends with it.
    warm([*MODULES, *sys.argv[2:]])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(sys.argv[1])
        listener.listen(socket.SOMAXCONN)
        server = ForkServer(listener)
        os.write(1, b"ready\n")
        child = server.run(sys.stdin.fileno())
        server.close()
    if child is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        become(child)
        program = os.environ.pop(PROGRAM, None)
        with child.channel as channel:
            if program is None:
                work(channel)
                leave()
            _, streams, _, _ = socket.recv_fds(channel, 1, 3)
        run(program, streams)


def work(channel: socket.socket) -> None:
    """As a worker, which leaves out the figures of a run: they take longer than all of its rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fogline.monitoring.plots.save", lambda result, folder: [])
        serve(channel)


def run(program: str, streams: list[int]) -> None:
    """The program that this process was forked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    name, *arguments = json.loads(program)
    module, _, function = name.partition(":")
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(Path.cwd()))  # As ``python -m`` has it.
    getattr(import_module(module), function)()


if __name__ == "__main__":
    main()
