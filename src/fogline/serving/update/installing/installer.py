"""The agent's side of installer processes: start one, ask it, watch it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from fogline.inference.card import Asset
from fogline.processes.pipe import PipeError
from fogline.processes.process import HelperEndedError, HelperError, HelperProcess, module
from fogline.serving.update.installing.requests import (
    ANSWERS,
    LARGEST,
    Answer,
    Bad,
    CombinePersonal,
    Distrusted,
    FileMissing,
    Here,
    InstallerDone,
    InstallerJob,
    Reconstruct,
    Spoilt,
    Stuck,
    TryVersion,
    Verify,
)
from fogline.serving.update.ports import (
    Ask,
    DamagedFileError,
    InstallerError,
    UnfitModelError,
    UntrustedMetadataError,
    VerifiedMetadata,
)
from fogline.storage import StorageError
from fogline.storage.errors import in_words

PROGRAM = "fogline.serving.update.installing.program"
LONGEST = 1000
"""Characters of a reason that foreign code gives."""


class InstallerDiedError(RuntimeError):
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

    async def verify(self, ask: Ask) -> VerifiedMetadata:
        """See :class:`fogline.serving.update.ports.Installer`."""
        request = Verify(str(self._folder / "trusted"), self._authority)
        try:
            answer = await self._answer(request, ask)
        except InstallerDiedError as error:
            raise InstallerError(f"The releases could not be checked: {error}.") from None
        match answer:
            case VerifiedMetadata():
                return answer
            case Distrusted(kind=kind, why=why):
                raise UntrustedMetadataError(kind, why)
            case Bad(why=why):
                raise InstallerError(f"The releases could not be checked: {why[:LONGEST]}.")
            case _:
                raise InstallerError(f"The releases could not be checked: the answer was {type(answer).__name__}.")

    async def reconstruct(self, base: Path, delta: Path, codec: str, expected: Asset, out: Path) -> None:
        """See :class:`fogline.serving.update.ports.Installer`."""
        async with self._turn:
            request = Reconstruct(str(base), str(delta), codec, expected, str(out))
            try:
                answer = await self._answer(request)
            except InstallerDiedError as error:
                raise UnfitModelError(str(error)) from None
            if not isinstance(answer, InstallerDone):
                raise UnfitModelError(answer.why[:LONGEST] if isinstance(answer, Bad) else "the process gave no result")

    async def combine(self, weights: Path, part: Path, out: Path) -> None:
        """See :class:`fogline.serving.update.ports.Installer`."""
        async with self._turn:
            try:
                answer = await self._answer(CombinePersonal(str(weights), str(part), str(out)))
            except InstallerDiedError as error:
                raise UnfitModelError(str(error)) from None
            if not isinstance(answer, InstallerDone):
                raise UnfitModelError(answer.why[:LONGEST] if isinstance(answer, Bad) else "the process gave no result")

    async def trial(self, card: bytes, paths: Mapping[str, Path]) -> str:
        """See :class:`fogline.serving.update.ports.Installer`."""
        files = {digest: str(path) for digest, path in paths.items()}
        async with self._turn:
            request = TryVersion(card, files, self._variants, self._code)
            try:
                answer = await self._answer(request)
            except InstallerDiedError as error:
                raise UnfitModelError(f"{error} in its trial") from None
            match answer:
                case InstallerDone(runtime=runtime):
                    return runtime
                case Spoilt(digests=digests):
                    raise DamagedFileError(tuple(digest for digest in digests if digest in files))
                case Bad(why=why):
                    raise UnfitModelError(why[:LONGEST])
                case _:
                    raise UnfitModelError(f"the process that tried it answered with {type(answer).__name__}")

    async def _answer(
        self, request: Verify | Reconstruct | CombinePersonal | TryVersion, ask: Ask | None = None
    ) -> Answer:
        """One request to a new process; what ``ask`` raises ends it.

        Raises:
            InstallerDiedError: there is no answer.
            InstallerError: it cannot be started.
            StorageError: the disk is in the way.
        """
        log = self._folder / "installer.log"
        try:
            helper = await HelperProcess.start(module(PROGRAM), log, ANSWERS, largest=LARGEST, fresh_log=True)
        except OSError as error:
            raise InstallerError(f"A helper process cannot be started: {error.strerror}.") from error
        try:
            answer = await self._exchange(helper, InstallerJob(request, self._memory, self._niceness))
            while isinstance(answer, FileMissing) and ask is not None:
                answer = await self._exchange(helper, Here(await ask(answer.name, answer.largest)))
        finally:
            await helper.end()
        if isinstance(answer, Stuck):
            raise StorageError(answer.why)
        return answer

    async def _exchange(self, helper: HelperProcess[Answer], request: InstallerJob | Here) -> Answer:
        try:
            return await helper.ask(request, self._seconds)
        except HelperEndedError as error:
            raise InstallerDiedError(f"{error}{self._limit}") from None
        except (HelperError, PipeError) as error:
            raise InstallerDiedError(str(error)) from None

    @property
    def _limit(self) -> str:
        return "" if self._memory is None else f"; it may take {in_words(self._memory)} of memory"
