"""The node's side of a worker process: start it, ask it, watch it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fogline.network.worker.discretion import without_reason
from fogline.network.worker.forks import start_worker
from fogline.network.worker.requests import ANSWERS, LARGEST, Answer, JobOpened, Open, Request, RequestFailed
from fogline.processes.pipe import PipeError
from fogline.processes.process import HelperError, HelperProcess
from fogline.retries import RELOAD, Failures

A = TypeVar("A")
NAME = "the worker process"
LONGEST = 2000
"""Characters of a reason that foreign code gives."""
LOADING = 600.0
"""Seconds that a worker has to load its job; machines are slow when many workers load at once."""


class WorkerError(RuntimeError):
    """A worker could not carry a request out; the text is a sentence."""


class JobBrokenError(WorkerError):
    """The job's own code is wrong: no other worker would do better."""


class WorkerEndedError(WorkerError):
    """The process ended, or did not get ready: with another one it may go well."""


class LoadedWorker(NamedTuple):
    """A process that has loaded the job."""

    helper: HelperProcess[Answer]
    opened: JobOpened


class WorkerClient:
    """A warm worker process for one job. It is started when it is first needed, and again after it died.

    It answers one request after the other. Who stops waiting for an answer does not end the process: what it has
    loaded is worth more than the answer, which is dropped when it comes.

    Args:
        opening: the job to load.
        log: file that takes what the job's code prints.
        patience: seconds that it has to load the job.
        keeps_reasons: whether why a request fails stays on this node: it may tell of the data here.
    """

    def __init__(self, opening: Open, log: Path, patience: float = LOADING, keeps_reasons: bool = False) -> None:
        self.opening = opening
        """The job, as the next process loads it."""
        self._log = log
        self._patience = patience
        self._keeps_reasons = keeps_reasons
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[Answer] | None = None
        """What the process does now, or did last."""
        self._helper: HelperProcess[Answer] | None = None
        """What runs, whether or not it has loaded the job."""
        self._loaded: LoadedWorker | None = None
        self._closed = ""
        """Why this side ended the process for good."""

    async def open(self) -> JobOpened:
        """Start the process and load the job, if that was not done.

        Raises:
            WorkerEndedError: the process ended meanwhile, or took too long.
            WorkerError: the job cannot be loaded here.
        """
        return expect(JobOpened, await self._beside(self._open))

    async def load(self, failed: Callable[[str], None]) -> JobOpened:
        """Load the job, and try again where the process ends meanwhile: the machine may be short of memory for now.

        Args:
            failed: told why, each time.

        Raises:
            WorkerError: the job cannot be loaded here.
        """
        failures = Failures(RELOAD)
        while True:
            try:
                return await self.open()
            except WorkerEndedError as error:
                if self._closed:
                    raise
                failed(str(error))
            await asyncio.sleep(failures.another())

    async def ask(self, request: Request, dropped: Callable[[], None] = lambda: None) -> Answer:
        """Carry a request out.

        Args:
            request: what to do.
            dropped: called when the worker is done with it, if the caller was cancelled before.

        Raises:
            WorkerEndedError: the process ended.
            WorkerError: it could not be carried out.
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
        helper, self._helper, self._loaded = self._helper, None, None
        if helper is not None:
            await helper.end(why)

    @property
    def pid(self) -> int | None:
        """The process, if there is one."""
        return None if self._helper is None else self._helper.pid

    @property
    def loaded(self) -> bool:
        """Whether the job is loaded, so that a request would begin at once."""
        return self._loaded is not None

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

    async def _open(self) -> JobOpened:
        return (await self._load()).opened

    async def _ask(self, request: Request) -> Answer:
        return await self._exchange((await self._load()).helper, request)

    async def _load(self) -> LoadedWorker:
        """A process with the job loaded: the one that is there, or another one."""
        if self._loaded is not None:
            return self._loaded
        try:
            async with asyncio.timeout(self._patience):
                helper = self._helper = await self._start()
                opened = expect(JobOpened, _whole(await self._exchange(helper, self.opening)))
        except TimeoutError:
            await self.end("it took too long to load the job")
            why = f"{NAME} has not loaded the job within {self._patience:g} s; its log is {self._log}"
            raise WorkerEndedError(why) from None
        except WorkerError:
            await self.end("it could not load the job")
            raise
        loaded = LoadedWorker(helper, opened)
        if self._helper is helper:  # Else it was ended when it had just answered: who asks it is told why.
            self._loaded = loaded
        return loaded

    async def _start(self) -> HelperProcess[Answer]:
        if self._closed:
            raise WorkerEndedError(f"{NAME} was ended: {self._closed}")
        threads = self.opening.limits.threads
        try:
            helper = await HelperProcess.start(
                start_worker, self._log, ANSWERS, largest=LARGEST, threads=threads, name=NAME
            )
        except OSError as error:
            raise WorkerEndedError(f"{NAME} could not be started: {error}") from error
        if self._closed:
            await helper.end(self._closed)
        return helper

    async def _exchange(self, helper: HelperProcess[Answer], request: Request) -> Answer:
        try:
            answer = await helper.ask(request)
        except HelperError as error:
            if self._helper is helper:
                self._helper = self._loaded = None
            raise WorkerEndedError(f"{error}; its log is {self._log}") from None
        except PipeError as error:
            raise WorkerError(str(error)) from None
        return without_reason(answer, request) if self._keeps_reasons else answer


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
        WorkerError: it is not.
    """
    if not isinstance(answer, kind):
        raise WorkerError(f"the worker process answered with {type(answer).__name__} instead of {kind.__name__}")
    return answer
