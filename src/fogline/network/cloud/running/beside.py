"""What a job at the cloud asks devices beside the training: to judge a model, to measure it, to answer queries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from fogline.decoding import UNREADABLE
from fogline.network.node.participation.survey import SurveyEndedError, SurveyPart
from fogline.network.node.values import ValueStore
from fogline.network.worker.client import WorkerClient, WorkerError, expect
from fogline.network.worker.requests import Evaluated, LayStatistics, ModelToJudge, ModelWritten, Summarise
from fogline.nodes.messages import Kind
from fogline.storage import BlobRef, StorageError
from fogline.storage.atomic import write_file

T = TypeVar("T")
UNASKED = (WorkerError, StorageError, SurveyEndedError)
"""What keeps an answer from coming."""


class JudgedGroup(msgspec.Struct, frozen=True):
    """What devices found of a model."""

    group: str = ""
    """Digest of the group whose model it is; empty: none was judged yet."""
    round: int = -1
    sums: bytes = b""


class AskedBeside:
    """What devices have said of one job's models.

    Args:
        value_store: the root's values.
        judge: the worker that judges the job's models.
        survey: gives what asks devices; None while the cloud begins anew.
        note: takes what people should know.
        measures: whether devices measure running statistics of a model before it is judged or handed out.
        kept: file of the answers to queries,
        judged: and of what devices found of the model that they judged last. In a secure sum devices say each once, so
            a cloud that was restarted must not have to ask again.

    Raises:
        StorageError: one of the files is damaged.
    """

    def __init__(
        self,
        value_store: ValueStore,
        judge: WorkerClient,
        survey: Callable[[], SurveyPart | None],
        note: Callable[[str, str], None],
        measures: bool,
        kept: Path,
        judged: Path,
    ) -> None:
        self._value_store, self._judge, self._survey, self._note = value_store, judge, survey, note
        self._measures = measures
        self._kept, self._judged = kept, judged
        self.answers = _read(kept, dict[str, dict[str, float]], {})
        """To the job's queries, as far as they were asked."""
        self._found = _read(judged, JudgedGroup, JudgedGroup())
        self._measured: tuple[str, bytes] = ("", b"")
        """What they measured, by the digest of the group that has it laid in."""

    async def judge(self, group: BlobRef, round_: int) -> dict[str, float]:
        """Have devices judge a group's model, unless they have after that round; what they find, as its row has it.

        Raises:
            WorkerError, StorageError, SurveyEndedError: see :data:`UNASKED`.
        """
        if (self._found.group, self._found.round) != (group.digest, round_):
            self._found = JudgedGroup(group.digest, round_, await self._asked("evaluate", group, round_))
            await self._keep(self._judged, msgspec.json.encode(self._found))
        return expect(Evaluated, await self._judge.ask(Summarise(self._found.sums))).metrics

    def found_of(self, group: BlobRef) -> bytes:
        """What devices found of that group's model; empty: nothing."""
        return self._found.sums if self._found.group == group.digest else b""

    async def query(self, queries: Sequence[str], round_: int) -> None:
        """What the job wants to know of devices' examples; a cloud that was restarted asks what had no answer."""
        for query in queries:
            if query in self.answers:
                continue
            try:
                sums = await self._asked("query", None, round_, query)
                said = expect(Evaluated, await self._judge.ask(Summarise(sums, query))).metrics
            except UNASKED as error:
                self._note("not answered", f"{query}: {error}")
                said = {}
            self.answers[query] = said
            found = {query: said for query, said in self.answers.items() if said}
            await self._keep(self._kept, msgspec.json.encode(found))

    async def measure(self, group: BlobRef, round_: int, asks: bool) -> BlobRef:
        """The group that has the running statistics which devices measure of its model; it is in the other's place.

        Args:
            group: the root's.
            round_: of the job, from 0.
            asks: whether devices can be asked. Where they cannot, or too few answer, it is what they measured last.
        """
        laid, sums = self._measured
        if not self._measures or laid == group.digest:
            return group
        try:
            sums = await self._asked("measure", group, round_) if asks else sums
        except UNASKED as error:
            self._note("not measured", str(error))
        if not sums:
            return group
        try:
            draft = self._value_store.draft()
            request = LayStatistics(self._value_store.path(group), sums, str(draft))
            expect(ModelWritten, await self._judge.ask(request))
            made = await self._value_store.take(draft, "group")
        except UNASKED as error:
            self._note("not measured", str(error))
            return group
        self._value_store.keep(made)
        self._value_store.release([group])
        self._measured = made.digest, sums
        return made

    @property
    def unmeasured(self) -> str | None:
        """Why a model is not to be handed out for want of statistics; None if it may be."""
        if not self._measures or self._measured[1]:
            return None
        return "too few devices measured the running statistics of its model, so that it is not fit for use"

    async def _keep(self, path: Path, data: bytes) -> None:
        """Write what was said down; the job goes on where that fails."""
        try:
            await asyncio.to_thread(write_file, path, data)
        except OSError as error:
            self._note("not kept", str(error))

    async def _asked(self, kind: Kind, group: BlobRef | None, round_: int, query: str = "") -> bytes:
        """The sums of devices, which get a group's model; None: they need none."""
        survey, draft = self._survey(), self._value_store.draft()
        if survey is None:
            raise SurveyEndedError("the cloud was being restarted")
        path = "" if group is None else self._value_store.path(group)
        expect(ModelWritten, await self._judge.ask(ModelToJudge(path, str(draft), round_)))
        return await survey.ask(kind, round_, await self._value_store.take(draft, "model"), query)


def _read(path: Path, kind: type[T], without: T) -> T:
    """What was written down before a restart.

    Raises:
        StorageError: nobody can read it.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else without
    except UNREADABLE as error:
        raise StorageError(f"{path} is damaged ({error}); delete it, and devices are asked anew") from None
