"""The agent's side of installer processes: start one, ask it, watch it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from fogline.inference.card import Asset
from fogline.network.frames import framed, next_frame
from fogline.network.helpers import Helper, ending, start_helper
from fogline.serving.update.ports import Ask, Checked, Damaged, InstallerFailed, Unfit, Untrusted
from fogline.serving.update.requests import (
    ANSWERS,
    LARGEST,
    Answer,
    Bad,
    Distrusted,
    Done,
    Here,
    Job,
    Missing,
    Reconstruct,
    Spoilt,
    Stuck,
    Trial,
    Verify,
    encode,
)
from fogline.storage import StorageError
from fogline.storage.errors import in_words

PROGRAM = "fogline.serving.update.program"
LONGEST = 1000
"""Characters of a reason that foreign code gives."""


class Died(RuntimeError):  # noqa: N818 - read aloud, it is what happened
    """A process ended without an answer; the text is a sentence."""


class ProcessInstaller:
    """Does what is heavy in processes of their own, one for each request.

    Args:
        folder: for what is trusted, and for the processes' log; made if need be.
        authority: the certificate of the fleet's authority (PEM), which signed the first root of releases.
        memory: bytes that a process may take; None: no limit.
        seconds: that a process may take.
        niceness: so that answering predictions comes first.
        variants: whether variants in fewer bits are tried too.
        code: folder with tasks' code, for models that could not be exported.
    """

    def __init__(
        self,
        folder: Path,
        authority: bytes,
        memory: int | None = 4 << 30,
        seconds: float = 120.0,
        niceness: int = 10,
        variants: bool = False,
        code: Path | None = None,
    ) -> None:
        self._folder = folder
        self._authority = authority
        self._memory = memory
        self._seconds = seconds
        self._niceness = niceness
        self._variants = variants
        self._code = None if code is None else str(code)
        folder.mkdir(parents=True, exist_ok=True)
        self._turn = asyncio.Lock()
        """Models are loaded one at a time, for the sake of memory."""

    async def verify(self, ask: Ask) -> Checked:
        """See :class:`fogline.serving.update.ports.Installer`."""
        request = Verify(str(self._folder / "trusted"), self._authority)
        try:
            answer = await self._answer(request, ask)
        except Died as error:
            raise InstallerFailed(f"The releases could not be checked: {error}.") from None
        match answer:
            case Checked():
                return answer
            case Distrusted(kind=kind, why=why):
                raise Untrusted(kind, why)
            case Bad(why=why):
                raise InstallerFailed(f"The releases could not be checked: {why[:LONGEST]}.")
            case _:
                raise InstallerFailed(f"The releases could not be checked: the answer was {type(answer).__name__}.")

    async def reconstruct(self, base: Path, delta: Path, codec: str, expected: Asset, out: Path) -> None:
        """See :class:`fogline.serving.update.ports.Installer`."""
        async with self._turn:
            request = Reconstruct(str(base), str(delta), codec, expected, str(out))
            try:
                answer = await self._answer(request)
            except Died as error:
                raise Unfit(str(error)) from None
            if not isinstance(answer, Done):
                raise Unfit(answer.why[:LONGEST] if isinstance(answer, Bad) else "the process gave no result")

    async def trial(self, card: bytes, paths: Mapping[str, Path]) -> str:
        """See :class:`fogline.serving.update.ports.Installer`."""
        files = {digest: str(path) for digest, path in paths.items()}
        async with self._turn:
            request = Trial(card, files, self._variants, self._code)
            try:
                answer = await self._answer(request)
            except Died as error:
                raise Unfit(f"{error} in its trial") from None
            match answer:
                case Done(runtime=runtime):
                    return runtime
                case Spoilt(digests=digests):
                    raise Damaged(tuple(digest for digest in digests if digest in files))
                case Bad(why=why):
                    raise Unfit(why[:LONGEST])
                case _:
                    raise Unfit(f"the process that tried it answered with {type(answer).__name__}")

    async def _answer(self, request: Verify | Reconstruct | Trial, ask: Ask | None = None) -> Answer:
        """One request to a new process; what ``ask`` raises ends it.

        Raises:
            Died: there is no answer.
            InstallerFailed: it cannot be started.
            StorageError: the disk is in the way.
        """
        async with self._process() as (process, reader, writer):

            async def exchange(frame: Job | Here) -> Answer:
                try:
                    async with asyncio.timeout(self._seconds):
                        writer.write(framed(encode(frame)))
                        return ANSWERS.decode(await next_frame(reader, LARGEST))
                except TimeoutError:
                    raise Died(f"it took longer than {self._seconds:g} s") from None
                except msgspec.DecodeError as error:
                    raise Died(f"the process sent what is no answer ({error})") from None
                except (asyncio.IncompleteReadError, ConnectionError):
                    raise Died(f"the process {ending(await process.wait())}{self._limit}") from None

            answer = await exchange(Job(request, self._memory, self._niceness))
            while isinstance(answer, Missing) and ask is not None:
                answer = await exchange(Here(await ask(answer.name, answer.largest)))
        if isinstance(answer, Stuck):
            raise StorageError(answer.why)
        return answer

    @asynccontextmanager
    async def _process(
        self,
    ) -> AsyncGenerator[tuple[Helper, asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            with (self._folder / "installer.log").open("wb") as log:
                process, channel = await start_helper(PROGRAM, log, threads=1)
        except OSError as error:
            raise InstallerFailed(f"A helper process cannot be started: {error.strerror}.") from error
        try:
            reader, writer = await asyncio.open_connection(sock=channel)
            try:
                yield process, reader, writer
            finally:
                writer.close()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @property
    def _limit(self) -> str:
        return "" if self._memory is None else f"; it may take {in_words(self._memory)} of memory"
