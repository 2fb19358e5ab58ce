"""A version that is loaded: it answers, and is closed when nobody needs it any more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from math import inf
from typing import NamedTuple

from fogline.inference.card import Card, PersonalOrigin
from fogline.inference.exits import EarlyExit
from fogline.inference.runtimes.base import Array, Locate, ModelError, Run, Runtime
from fogline.registry.release import Tally, Vitals
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.protocol.messages import InferenceRequest, InferenceResponse
from fogline.serving.protocol.rest import ResponseWriter
from fogline.serving.protocol.signature import ModelSignature
from fogline.serving.server.versions.batcher import Batcher, Outputs
from fogline.serving.server.versions.blame import Witness, is_clients
from fogline.serving.server.versions.concurrency import ConcurrencyLimit
from fogline.serving.server.versions.counts import Counts
from fogline.serving.server.versions.hooks import AnswerHook, OffloadHook
from fogline.serving.server.versions.memory import give_back
from fogline.serving.settings import Settings

log = logging.getLogger("fogline.serving")


class Span(NamedTuple):
    """Of a request, in nanoseconds of :func:`time.perf_counter_ns`."""

    began: int
    """When the model's turn began: what the version is judged by."""
    came: int
    """When the request was there: what whoever asked has waited for."""


class ServedModel:
    """One version of a model.

    Args:
        card: of the version.
        locate: where its files are.
        runtime: that runs it.
        instant: examples that it answers so quickly that a thread would only cost time.
        settings: of the server.
        pool: where slow models run.
        limit: before what takes a while.
        watch: who sees what it answers.
        offloader: who answers when it is unsure.
        personal: where the part of it comes from that is this device's own; None: it is the version that all have.
    """

    def __init__(
        self,
        card: Card,
        locate: Locate,
        runtime: Runtime,
        instant: int,
        settings: Settings,
        pool: Executor,
        limit: ConcurrencyLimit,
        watch: AnswerHook | None = None,
        offloader: OffloadHook | None = None,
        personal: PersonalOrigin | None = None,
    ) -> None:
        self.card = card
        self.locate = locate
        self.version = str(card.version)
        self.runtime = runtime
        self.personal = personal
        self.watch = watch
        self.early_exit = EarlyExit(card.exits, card.scores, runtime) if card.exits and card.scores else None
        """Answers with the first sure exit, where the model has several."""
        self.run: Run = self.early_exit or runtime.run
        """Gives what clients are answered with."""
        self.signature = ModelSignature(card)
        self.counts = Counts()
        self.writer = ResponseWriter(card, self.version, settings.tier, personal)
        self.tally = Tally()
        """Of its watch, up to the last beat."""
        self.shadow: Callable[[InferenceRequest, Outputs], None] | None = None
        """Another version that answers silently what this one answers."""
        self.before: Witness | None = None
        """The version that was served before this one."""
        self._instant = instant
        self._settings = settings
        self._pool = pool
        self._limit = limit
        self._offloader = offloader
        self._batcher = Batcher(self.run, pool, settings.max_batch if self.signature.batched else 1, self.counts)
        self._looking = False
        """Whether the watch will be called to look."""
        self._users = 0
        self._retired = self._closed = False

    def answer(
        self, ask: InferenceRequest, left: float = inf, hops: int = 0, came: int | None = None
    ) -> InferenceResponse | asyncio.Task[InferenceResponse]:
        """The answer; where it takes a while, a task that gives it.

        Args:
            ask: the request.
            left: seconds within which a tier below needs the answer.
            hops: links that it came over.
            came: when the request was there, by :func:`time.perf_counter_ns`; None: now.

        Raises:
            ModelError: the model cannot be run.
            ProtocolError: it does not take such inputs, it takes too long, or too many wait.
        """
        began = time.perf_counter_ns()
        span = Span(began, began if came is None else came)
        if ask.rows > self._instant:
            return self._begin(ask, None, span, left, hops)
        try:
            outputs = self._run(ask)
            unsure = self._unsure(outputs)
        except ModelError:
            return self._begin(ask, None, span, left, hops)  # To find out whose fault it is takes a while.
        except Exception:
            self._missed(span)
            raise
        if unsure is None:
            return self._answered(ask, outputs, self._own(outputs), span)
        return self._begin(ask, outputs, span, left, hops)

    def beat(self) -> Vitals | None:
        """How it fared since the last beat; None where nobody watches."""
        if self.watch is None:
            return None
        vitals = self.watch.take()
        self.tally += vitals.tally
        return vitals

    def hold(self) -> bool:
        """Keep it open until :meth:`release`; whether it is."""
        self._users += not self._closed
        return not self._closed

    def release(self) -> None:
        """Somebody needs it no longer."""
        self._users -= 1
        self._close_if_free()

    def retire(self) -> None:
        """Close it when the last request that it has begun is answered."""
        self._retired = True
        self._close_if_free()

    def _run(self, ask: InferenceRequest) -> Outputs:
        began = time.perf_counter_ns()
        outputs = self.run(ask.inputs)
        self.counts.ran(time.perf_counter_ns() - began)
        return outputs

    def _begin(
        self, ask: InferenceRequest, outputs: Outputs | None, span: Span, left: float, hops: int
    ) -> asyncio.Task[InferenceResponse]:
        task = asyncio.get_running_loop().create_task(self._answer_later(ask, outputs, span, left, hops))
        # Not within the task, which begins later and, if it is cancelled, never.
        self._users += 1
        task.add_done_callback(lambda _: self.release())
        return task

    async def _answer_later(
        self, ask: InferenceRequest, outputs: Outputs | None, span: Span, left: float, hops: int
    ) -> InferenceResponse:
        with self._limit:
            try:
                async with asyncio.timeout(self._settings.deadline):
                    if outputs is None:
                        outputs = await self._outputs(ask, hops)
                    answer = await self._with_help(ask, outputs, left, hops)
            except TimeoutError:
                self._missed(span)
                raise ProtocolError(f"There was no answer within {self._settings.deadline:g} s.", 504) from None
            except ProtocolError:
                raise  # It was the client's fault, and is not held against the version.
            except Exception:
                self._missed(span)
                raise
        return self._answered(ask, outputs, answer, span)

    async def _outputs(self, ask: InferenceRequest, hops: int) -> Outputs:
        """What the model gives.

        Raises:
            ModelError: it cannot be run.
            ProtocolError: it can, but not with such inputs.
        """
        try:
            return await self._batcher.run(ask.inputs, ask.rows)
        except ModelError as error:
            # A tier below has no time to wait until the version before is loaded: that one is asked beside.
            before = None if hops else self.before
            judged = (self.card, self.locate, self.run, before, ask.inputs)
            if not await asyncio.get_running_loop().run_in_executor(self._pool, is_clients, *judged):
                raise
            if before is not self.before:
                self._ask_before(ask)
            raise ProtocolError(f"The model does not take such inputs: {error}") from error

    def _ask_before(self, ask: InferenceRequest) -> None:
        """Find out whether the version before has an answer: then it is this one's fault after all."""
        assert self.before is not None
        now = time.perf_counter_ns()

        def told(asking: asyncio.Future[bool | None]) -> None:
            if not asking.cancelled() and asking.exception() is None and asking.result():
                self._missed(Span(now, now))
            self.release()

        self._users += 1
        asking = asyncio.get_running_loop().run_in_executor(self._pool, self.before.answers, ask.inputs)
        asking.add_done_callback(told)

    def _unsure(self, outputs: Outputs) -> Array | None:
        return None if self._offloader is None else self._offloader.unsure(outputs)

    async def _with_help(self, ask: InferenceRequest, outputs: Outputs, left: float, hops: int) -> InferenceResponse:
        if self._offloader is None or (unsure := self._unsure(outputs)) is None:
            return self._own(outputs)
        better = await self._offloader.improve(ask.inputs, outputs, unsure, left, hops)
        return InferenceResponse(
            better.outputs,
            better.tier,
            better.model,
            better.version,
            better.offloaded,
            better.why,
            self.personal,
        )

    def _own(self, outputs: Outputs) -> InferenceResponse:
        return InferenceResponse(
            outputs, self._settings.tier, self.card.model, self.card.version, personal=self.personal
        )

    def _answered(
        self, ask: InferenceRequest, own: Outputs, answer: InferenceResponse, span: Span
    ) -> InferenceResponse:
        """Note an answer. This version is judged by its own outputs, whoever improved them."""
        now = time.perf_counter_ns()
        self.counts.answered(ask.rows, now - span.came, answer.offloaded)
        if self.watch is not None:
            left = self.watch.saw(ask.inputs, own, (now - span.began) / 1e9, ask.id, answer.offloaded)
            if left and not self._looking:
                self._looking = True
                asyncio.get_running_loop().call_soon(self._look, self.watch)
        if self.shadow is not None:
            # In a later turn of the loop: the answer goes out first.
            asyncio.get_running_loop().call_soon(self.shadow, ask, own)
        return answer

    def _look(self, watch: AnswerHook) -> None:
        """Let the watch look at a piece in every turn of the loop, after the answers and before the next requests."""
        self._looking = watch.look()
        if self._looking:
            asyncio.get_running_loop().call_soon(self._look, watch)

    def _missed(self, span: Span) -> None:
        self.counts.missed(time.perf_counter_ns() - span.came)
        if self.watch is not None:
            self.watch.failed()

    def _close_if_free(self) -> None:
        if self._retired and self._users == 0 and not self._closed:
            self._closed = True
            self._pool.submit(self._let_go).add_done_callback(self._log_failure)

    def _let_go(self) -> None:
        self.runtime.close()
        if self.before is not None:
            self.before.close()
        give_back()

    def _log_failure(self, closing: Future[None]) -> None:
        if (error := closing.exception()) is not None:
            log.error("%s %s could not be closed", self.card.model, self.version, exc_info=error)
