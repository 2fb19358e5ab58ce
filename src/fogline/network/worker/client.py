"""The node's side of a worker process: start it, ask it, watch it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fogline.network.worker.forks import start_worker
from fogline.network.worker.requests import ANSWERS, LARGEST, Answer, JobOpened, Open, Request, RequestFailed
from fogline.processes.frames import framed, next_frame
from fogline.processes.helpers import Helper, ending
from fogline.processes.messages import encode

A = TypeVar("A")
LONGEST = 2000
"""Characters of a reason that foreign code gives."""
LOADING = 600.0
"""Seconds that a worker has to load its job; machines are slow when many workers load at once."""
FIRST_WAIT, LONGEST_WAIT = 5.0, 60.0
"""Seconds before a job whose worker ended while loading is loaded again: doubled each time."""


class WorkerError(RuntimeError):
    """A worker could not carry a request out; the text is a sentence."""


class JobBrokenError(WorkerError):
    """The job's own code is wrong: no other worker would do better."""


class WorkerEndedError(WorkerError):
    """The process ended, or did not get ready: with another one it may go well."""


class WorkerClient:
    """A warm worker process for one job. It is started when it is first needed, and again after it died.

    It answers one request after the other. Who stops waiting for an answer does not end the process: what it has
    loaded is worth more than the answer, which is dropped when it comes.

    Args:
        opening: the job to load.
        log: file that takes what the job's code prints.
        patience: seconds that it has to load the job.
    """

    def __init__(self, opening: Open, log: Path, patience: float = LOADING) -> None:
        self._opening = opening
        self._log = log
        self._patience = patience
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[Answer] | None = None
        """What the process does now, or did last."""
        self._process: Helper | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._opened: JobOpened | None = None
        self._ended_for = self._closed = ""
        """Why this side ended the process, and why for good."""

    async def open(self) -> JobOpened:
        """Start the process and load the job, if that was not done.

        Raises:
            WorkerEnded: the process ended meanwhile, or took too long.
            WorkerFailed: the job cannot be loaded here.
        """
        return expect(JobOpened, await self._beside(self._open))

    async def load(self, failed: Callable[[str], None]) -> JobOpened:
        """Load the job, and try again where the process ends meanwhile: the machine may be short of memory for now.

        Args:
            failed: told why, each time.

        Raises:
            WorkerFailed: the job cannot be loaded here.
        """
        wait = FIRST_WAIT
        while True:
            try:
                return await self.open()
            except WorkerEndedError as error:
                if self._closed:
                    raise
                failed(str(error))
            await asyncio.sleep(wait)
            wait = min(LONGEST_WAIT, 2 * wait)

    async def ask(self, request: Request, dropped: Callable[[], None] = lambda: None) -> Answer:
        """Carry a request out.

        Args:
            request: what to do.
            dropped: called when the worker is done with it, if the caller was cancelled before.

        Raises:
            WorkerEnded: the process ended.
            WorkerFailed: it could not be carried out.
        """
        return await self._beside(lambda: self._ask(request), dropped)

    async def close(self, why: str = "the node does not need it any more") -> None:
        """End the process for good, also in the middle of a request. ``why``: what who waits for an answer is told."""
        self._closed = why
        await self.end(why)
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def end(self, why: str) -> None:
        """End the process, also in the middle of a request; the next request starts another one."""
        process, self._process, self._opened = self._process, None, None
        self._ended_for = why
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

    @property
    def loaded(self) -> bool:
        """Whether the job is loaded, so that a request would begin at once."""
        return self._opened is not None

    async def _beside(
        self, work: Callable[[], Coroutine[Any, Any, Answer]], dropped: Callable[[], None] = lambda: None
    ) -> Answer:
        """Do it when it is its turn, and to its end, also when who waits for it is cancelled meanwhile."""
        await self._turn.acquire()
        self._task = task = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._turn.release())
        try:
            return _whole(await asyncio.shield(task))
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: _let_go(done, dropped))
            raise

    async def _ask(self, request: Request) -> Answer:
        await self._open()
        return await self._exchange(request)

    async def _open(self) -> JobOpened:
        if self._opened is not None:
            return self._opened
        try:
            async with asyncio.timeout(self._patience):
                self._opened = expect(JobOpened, _whole(await self._load()))
        except TimeoutError:
            await self.end("it took too long to load the job")
            why = f"the worker process has not loaded the job within {self._patience:g} s; its log is {self._log}"
            raise WorkerEndedError(why) from None
        except WorkerError:
            await self.end("it could not load the job")
            raise
        return self._opened

    async def _load(self) -> Answer:
        if self._closed:
            raise WorkerEndedError(f"the worker process was ended: {self._closed}")
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._process, channel = await start_worker(log, self._opening.limits.threads)
        except OSError as error:
            raise WorkerEndedError(f"the worker process could not be started: {error}") from error
        self._reader, self._writer = await asyncio.open_connection(sock=channel, limit=1 << 20)
        if self._closed:
            await self.end(self._closed)
        return await self._exchange(self._opening)

    async def _exchange(self, request: Request) -> Answer:
        if self._writer is None or self._reader is None:
            raise WorkerEndedError(await self._obituary())
        try:
            self._writer.write(framed(encode(request)))
            await self._writer.drain()
            return ANSWERS.decode(await next_frame(self._reader, LARGEST))
        except msgspec.DecodeError as error:
            await self.end("its answer was none")  # Nobody knows where its next answer would begin.
            raise WorkerEndedError(
                f"the worker process sent what is no answer ({error}); its log is {self._log}"
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise WorkerEndedError(await self._obituary()) from None

    async def _obituary(self) -> str:
        """How the process ended: by itself, or because this node ended it."""
        process, self._process, self._opened = self._process, None, None
        if process is None:
            return f"the worker process was ended: {self._ended_for}"
        return f"the worker process {ending(await process.wait())}; its log is {self._log}"


def _let_go(done: asyncio.Task[Answer], dropped: Callable[[], None]) -> None:
    """Nobody waits for this answer, nor for the reason why there is none."""
    if not done.cancelled():
        done.exception()
    dropped()


def _whole(answer: Answer) -> Answer:
    if isinstance(answer, RequestFailed):
        raise (JobBrokenError if answer.bug else WorkerError)(answer.why[:LONGEST])
    return answer


def expect(kind: type[A], answer: Answer) -> A:
    """The answer, if it is of that kind: foreign code runs in the worker.

    Raises:
        WorkerFailed: it is not.
    """
    if not isinstance(answer, kind):
        raise WorkerError(f"the worker process answered with {type(answer).__name__} instead of {kind.__name__}")
    return answer
