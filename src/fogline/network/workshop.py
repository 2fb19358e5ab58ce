"""The node's side of a worker process: start it, ask it, watch it, end it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

import msgspec

from fogline.network.contract import encode
from fogline.network.frames import framed, next_frame
from fogline.network.helpers import ending, start_helper
from fogline.network.worker.requests import ANSWERS, LARGEST, Answer, Failed, Open, Opened, Request

A = TypeVar("A")
PROGRAM = "fogline.network.worker.program"
LONGEST = 2000
"""Characters of a reason that foreign code gives."""


class WorkerFailed(RuntimeError):  # noqa: N818 - read aloud, it is what happened
    """A worker could not carry a request out; the text is a sentence."""


class Workshop:
    """A warm worker process for one job. It is started when it is first needed, and again after it died.

    Args:
        opening: the job to load.
        log: file that takes what the job's code prints.
    """

    def __init__(self, opening: Open, log: Path) -> None:
        self._opening = opening
        self._log = log
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> Opened:
        """Start the process and load the job, if that was not done.

        Raises:
            WorkerFailed: the job cannot be loaded here.
        """
        async with self._turn:
            return await self._open()

    async def ask(self, request: Request) -> Answer:
        """Carry a request out.

        Raises:
            WorkerFailed: it could not be carried out, or the process died.
        """
        async with self._turn:
            if self._process is None:
                await self._open()
            return _whole(await self._exchange(request))

    async def close(self) -> None:
        """End the process, also in the middle of a request."""
        process, self._process = self._process, None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    @property
    def pid(self) -> int | None:
        """The process, if there is one."""
        return None if self._process is None else self._process.pid

    async def _open(self) -> Opened:
        if self._process is not None:
            return Opened()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process, channel = await start_helper(PROGRAM, log, self._opening.limits.threads)
        self._reader, self._writer = await asyncio.open_connection(sock=channel, limit=1 << 20)
        return expect(Opened, _whole(await self._exchange(self._opening)))

    async def _exchange(self, request: Request) -> Answer:
        assert self._reader is not None
        assert self._writer is not None
        try:
            self._writer.write(framed(encode(request)))
            await self._writer.drain()
            return ANSWERS.decode(await next_frame(self._reader, LARGEST))
        except msgspec.DecodeError as error:
            await self.close()  # Nobody knows where its next answer would begin.
            raise WorkerFailed(f"the worker process sent what is no answer ({error}); its log is {self._log}") from None
        except (asyncio.IncompleteReadError, ConnectionError, BrokenPipeError):
            raise WorkerFailed(await self._obituary()) from None
        except asyncio.CancelledError:
            await self.close()  # The answer would be taken for that of the next request.
            raise

    async def _obituary(self) -> str:
        process, self._process = self._process, None
        code = None if process is None else await process.wait()
        return f"the worker process {ending(code)}; its log is {self._log}"


def _whole(answer: Answer) -> Answer:
    if isinstance(answer, Failed):
        raise WorkerFailed(answer.why[:LONGEST])
    return answer


def expect(kind: type[A], answer: Answer) -> A:
    """The answer, if it is of that kind: foreign code runs in the worker.

    Raises:
        WorkerFailed: it is not.
    """
    if not isinstance(answer, kind):
        raise WorkerFailed(f"the worker process answered with {type(answer).__name__} instead of {kind.__name__}")
    return answer
