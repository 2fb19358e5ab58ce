"""The warm parent of worker processes: ``python -P -m fogline.network.worker.forkserver SOCKET``.

It imports what the workers of a machine need, once, and forks each of them, so that they share the memory of all
those libraries. It has a single thread, opens no device and runs no code of a job: names of modules come on its
standard input, a line each and an empty one after them, and with the end of that input it ends. Workers end with it,
and with the connection of the node that asked for them. Linux only.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from fogline.network.worker.forks import LARGEST, Fork, Forked, ForkRefused, WorkerExited
from fogline.network.worker.program import serve
from fogline.processes.child import end_with_parent
from fogline.processes.messages import decoder, encode
from fogline.processes.process import limited_to

READY = b"ready\n"
"""What it says on its standard output when nodes may connect."""
FORKS = decoder(Fork)
EXPENDABLE = "500"
"""Where memory runs out, a worker goes before the parent that all of them share."""


@dataclass(frozen=True)
class ForkedChild:
    """What a new worker begins with."""

    parent: int
    fork: Fork
    log: int
    channel: socket.socket


@dataclass
class ForkServer:
    """Connections of nodes, and their workers.

    Args:
        listener: takes connections.
    """

    listener: socket.socket
    connections: dict[int, socket.socket] = field(default_factory=dict[int, socket.socket])
    """By descriptor."""
    workers: dict[int, tuple[int, socket.socket]] = field(default_factory=dict[int, tuple[int, socket.socket]])
    """Number and connection by the descriptor that tells of the end."""

    def run(self, lifeline: int) -> ForkedChild | None:
        """Until ``lifeline`` ends: then None. In every new worker it returns too."""
        poll = select.poll()
        poll.register(lifeline, select.POLLIN)
        poll.register(self.listener, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == lifeline:
                    if not os.read(lifeline, 1 << 16):
                        return None
                elif descriptor == self.listener.fileno():
                    connection, _ = self.listener.accept()
                    self.connections[connection.fileno()] = connection
                    poll.register(connection, select.POLLIN)
                elif descriptor in self.workers:
                    poll.unregister(descriptor)
                    self._reap(descriptor)
                else:
                    child = self._heard(self.connections[descriptor], poll)
                    if child is not None:
                        return child

    def close(self) -> None:
        """Let go of everything: a new worker must not hold what belongs to others."""
        for connection in self.connections.values():
            connection.close()
        for descriptor, (_, connection) in self.workers.items():
            os.close(descriptor)
            connection.close()
        self.listener.close()

    def _heard(self, connection: socket.socket, poll: select.poll) -> ForkedChild | None:
        """A node asks, or is gone, or does not need its worker any more."""
        try:
            data, descriptors, _, _ = socket.recv_fds(connection, LARGEST, 2)
        except ConnectionError:
            data, descriptors = b"", []
        if data and not any(held is connection for _, held in self.workers.values()):
            return self._fork(connection, data, descriptors, poll)
        for descriptor in descriptors:
            os.close(descriptor)
        del self.connections[connection.fileno()]
        poll.unregister(connection)
        mine = [pid for pid, held in self.workers.values() if held is connection]
        for pid in mine:
            os.kill(pid, signal.SIGKILL)  # It was not waited for yet, so that this number is still its own.
        if not mine:
            connection.close()
        return None

    def _fork(
        self, connection: socket.socket, data: bytes, descriptors: list[int], poll: select.poll
    ) -> ForkedChild | None:
        me = os.getpid()
        try:
            fork = FORKS.decode(data)
            log, channel = descriptors
        except ValueError:
            return self._refuse(connection, descriptors, "that is no request")
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            return self._refuse(connection, descriptors, f"a library has started {threads - 1} threads in the parent")
        try:
            pid = os.fork()
        except OSError as error:
            return self._refuse(connection, descriptors, str(error))
        if pid == 0:
            return ForkedChild(me, fork, log, socket.socket(fileno=channel))
        for descriptor in descriptors:
            os.close(descriptor)
        watch = os.pidfd_open(pid)
        self.workers[watch] = pid, connection
        poll.register(watch, select.POLLIN)
        _send(connection, encode(Forked(pid)))
        return None

    def _refuse(self, connection: socket.socket, descriptors: list[int], why: str) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        _send(connection, encode(ForkRefused(why)))

    def _reap(self, descriptor: int) -> None:
        """A worker has ended."""
        pid, connection = self.workers.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        _send(connection, encode(WorkerExited(os.waitstatus_to_exitcode(status))))
        if connection.fileno() not in self.connections:
            connection.close()


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # Whoever asked may be gone.
        connection.send(data, socket.MSG_DONTWAIT)


def warm(modules: list[str]) -> None:
    """Import what is there of these modules, and keep the garbage collector from writing to what is shared."""
    for name in modules:
        with contextlib.suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()


def become(child: ForkedChild) -> None:
    """What a process of its own would have been given."""
    end_with_parent()
    if os.getppid() != child.parent:
        raise SystemExit(1)  # It ended before this was said.
    os.setsid()  # A signal to its group is its own affair.
    Path("/proc/self/comm").write_text("fogline-worker")
    Path("/proc/self/oom_score_adj").write_text(EXPENDABLE)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for stream in (1, 2):
        os.dup2(child.log, stream)
    os.close(child.log)
    os.chdir(child.fork.folder)
    os.environ.clear()
    os.environ.update(child.fork.environment | limited_to(child.fork.threads))
    use(child.fork.threads)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # Else all would draw the same.


def leave() -> NoReturn:
    """End a fork at once: to take apart what it shares with its parent would copy all of it first."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def use(threads: int) -> None:
    """Let libraries that were loaded for a single thread, as the fork wants it, use so many."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if find_spec("threadpoolctl") is not None:  # It comes with scikit-learn, and knows what NumPy calculates with.
        import_module("threadpoolctl").threadpool_limits(threads)


def main() -> None:
    """The program."""
    path = sys.argv[1]
    warm([line.strip() for line in iter(sys.stdin.readline, "\n") if line])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(socket.SOMAXCONN)
        server = ForkServer(listener)
        os.write(1, READY)
        child = server.run(sys.stdin.fileno())
        server.close()
    if child is None:
        with contextlib.suppress(OSError):  # Whoever started it may have been quicker.
            Path(path).unlink()
            Path(path).parent.rmdir()
    else:
        become(child)
        with child.channel as channel:
            serve(channel)
        leave()


if __name__ == "__main__":
    main()
