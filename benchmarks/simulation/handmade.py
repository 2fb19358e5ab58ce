"""Rounds as one would write them by hand for one model and one machine: the limit that an engine is held against.

A hand-made round takes the model and a seed, trains every device for an epoch of plain SGD in the order that
:func:`orders` draws, and gives the mean of the ends. All devices hold equally many examples. Nothing is checked,
recorded, reported or kept; one process or two forked ones that share memory and wake each other with a few bytes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from benchmarks.simulation.loops import makings
from benchmarks.simulation.work import Making, Round, Work, orders

PROCESSES = 2


@contextmanager
def alone(make: Making, work: Work, threads: int) -> Iterator[Round]:
    """One process with one thread or more."""
    loop = make(work, range(work.clients))

    def run(start: Tensor, seed: int) -> Tensor:
        torch.set_num_threads(threads)
        total = torch.zeros_like(start)
        loop.train(start, orders(seed, work.clients, work.examples), total)
        return total.div_(work.clients)

    yield run


@contextmanager
def forked(make: Making, work: Work, threads: int = 1) -> Iterator[Round]:
    """Two processes of one thread: model and sums lie in memory that they share, pipes carry a seed and a byte."""
    size = work.task.spec.trainable
    shared = torch.zeros(PROCESSES + 1, size).share_memory_()
    lines: list[Connection[Any, Any]] = []
    children: list[int] = []
    for place in range(PROCESSES):
        ours, theirs = Pipe()
        child = os.fork()
        if child == 0:
            for line in (ours, *lines):  # Else a child would hold the other's line open.
                line.close()
            _work(make, work, range(place, work.clients, PROCESSES), shared, place + 1, theirs, threads)
        theirs.close()
        lines.append(ours)
        children.append(child)

    def run(start: Tensor, seed: int) -> Tensor:
        shared[0].copy_(start)
        for line in lines:
            line.send_bytes(seed.to_bytes(8, "little"))
        for line in lines:
            line.recv_bytes()
        return shared[1:].sum(0).div_(work.clients)

    try:
        yield run
    finally:
        for line in lines:
            line.close()
        for child in children:
            os.waitpid(child, 0)


def _work(
    make: Making,
    work: Work,
    clients: Sequence[int],
    shared: Tensor,
    place: int,
    line: Connection[Any, Any],
    threads: int,
) -> None:
    """A child's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        torch.set_num_threads(threads)
        loop = make(work, clients)
        while True:
            seed = int.from_bytes(line.recv_bytes(), "little")
            shared[place].zero_()
            loop.train(shared[0], orders(seed, work.clients, work.examples), shared[place])
            line.send_bytes(b"d")
    except (EOFError, OSError):
        os._exit(0)
    finally:
        os._exit(1)


@contextmanager
def hand_made(work: Work | None) -> Iterator[dict[str, Round]]:
    """All rounds by hand that a model has, by name; none without work."""
    with ExitStack() as stack:
        rounds: dict[str, Round] = {}
        for name, make in makings(work).items() if work else ():
            rounds[f"{name}, {PROCESSES} processes"] = stack.enter_context(forked(make, work))
            for threads in (1, 2):
                rounds[f"{name}, {threads} threads"] = stack.enter_context(alone(make, work, threads))
        yield rounds
