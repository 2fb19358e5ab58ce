"""The parent's side of a helper process: start it, ask it, watch it, end it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol

import msgspec

from fogline.processes.messages import Decoder
from fogline.processes.pipe import Answer, Pipe, PipeClosedError, RequestService

GRACE = 10.0
"""Seconds that a process has to end by itself after it, or this one, has hung up."""


class RunningProcess(Protocol):
    """A process that was started from here, in whatever way."""

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


Start = Callable[[BinaryIO, int], Awaitable[tuple[RunningProcess, socket.socket]]]
"""Starts a process with one end of a socket pair; gives the process and the other end. It is told what takes that
which the process prints, and how many threads numerical libraries may use in it; it may raise ``OSError``."""


def module(program: str) -> Start:
    """Start a module as a process of its own: the number of its socket is its first argument."""

    async def start(log: BinaryIO, threads: int) -> tuple[RunningProcess, socket.socket]:
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
            except BaseException:
                ours.close()
                raise
        return process, ours

    return start


def limited_to(threads: int) -> dict[str, str]:
    """Environment in which numerical libraries start no more threads than that; they keep memory for each."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def ending(code: int | None) -> str:
    """How a process with this status ended, to follow its name."""
    if code is None or code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"


class HelperError(RuntimeError):
    """A helper process gave no answer; the text says why, to stand in a sentence."""


class HelperEndedError(HelperError):
    """It ended by itself."""


class HelperProcess(Generic[Answer]):
    """A process that works for this one, and the pipe to it. Made by :meth:`start`.

    Args:
        process: it.
        pipe: to it.
        name: what sentences call it.
    """

    def __init__(self, process: RunningProcess, pipe: Pipe[Answer], name: str) -> None:
        self.pipe = pipe
        self._process = process
        self._name = name
        self._why = ""
        """Why this side ended it."""

    @classmethod
    async def start(
        cls,
        start: Start,
        log: Path,
        answers: Decoder[Answer],
        *,
        largest: int,
        service: RequestService[Any] | None = None,
        threads: int = 1,
        name: str = "the process",
        fresh_log: bool = False,
    ) -> HelperProcess[Answer]:
        """Start one.

        Args:
            start: in which way.
            log: file that takes what it prints; made if need be.
            answers: reads what it answers.
            largest: bytes that a message may have, in both directions: foreign code may run at the other end.
            service: what is done for it, when it asks.
            threads: that its numerical libraries may use.
            name: what sentences call it.
            fresh_log: whether the log begins anew.

        Raises:
            OSError: it cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb" if fresh_log else "ab") as printed:
            process, channel = await start(printed, threads)
        try:
            return cls(process, await Pipe.over(channel, answers, largest, service), name)
        except BaseException:
            channel.close()
            with suppress(ProcessLookupError):
                process.kill()
            raise

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    async def ask(self, request: msgspec.Struct, seconds: float | None = None) -> Answer:
        """Have something done.

        Args:
            request: what.
            seconds: that it may take; None: any.

        Raises:
            HelperError: there is no answer, since the process ended or took too long.
            PipeError: the request is too large, or could not be carried out.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self.pipe.ask(request)
        except TimeoutError:
            raise HelperError(f"it took longer than {seconds:g} s") from None
        except PipeClosedError:
            raise await self._why_closed() from None

    async def _why_closed(self) -> HelperError:
        if self._why:
            return HelperError(f"{self._name} was ended: {self._why}")
        if self.pipe.garbled:
            await self.end()  # Nobody knows where its next message would begin.
            return HelperError(f"{self._name} sent what is no answer ({self.pipe.garbled})")
        return HelperEndedError(await self.ended())

    async def ended(self) -> str:
        """Wait for its end, which that of the pipe has begun: its name, and how it ended."""
        return f"{self._name} {ending(await self.end(grace=GRACE))}"

    async def end(self, why: str = "", grace: float = 0.0) -> int:
        """Hang up, and see that it ends.

        Args:
            why: what who waits for an answer is told.
            grace: seconds that it has to end by itself.

        Returns:
            Its status, or minus the signal that ended it.
        """
        self._why = self._why or why
        await self.pipe.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                return await self._process.wait()
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()
