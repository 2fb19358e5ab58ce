"""The server's models, watches and cascades, as they are in earnest."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from pathlib import Path

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Locate, Runtime
from fogline.inference.runtimes.choose import open_runtime
from fogline.inference.sketches import Reference
from fogline.serving.cascade.breaker import Breaker, BreakerSettings
from fogline.serving.cascade.offloader import Offloader
from fogline.serving.cascade.wire import Send
from fogline.serving.quality.monitor import QualityMonitor
from fogline.serving.quality.sample_store import SampleStore
from fogline.serving.server.versions.hooks import Hooks
from fogline.serving.server.versions.repository import Open
from fogline.serving.settings import Settings

SLOW = 0.8
"""Share of the time that an answer from above may take, after which it counts as slow."""


def opener(settings: Settings) -> Open:
    """Loads versions, each by the runtime that is the fastest here."""

    def open_(card: Card, locate: Locate) -> Runtime:
        code = Path(settings.code) if settings.code else None
        return open_runtime(card, locate, settings.threads, settings.only, settings.variants, code).runtime

    return open_


def hooks(settings: Settings, send: Send | None = None) -> Hooks:
    """Watches every version; asks the tier above where there is one (``send``)."""
    sample_store = (
        SampleStore(Path(settings.samples), settings.samples_bytes, consent=True) if settings.samples else None
    )
    limits = BreakerSettings(slow_seconds=SLOW * settings.patience)
    breakers: defaultdict[str, Breaker] = defaultdict(lambda: Breaker(limits))
    """By the model above: one that is missing there must not keep others from theirs."""

    def watch(card: Card, locate: Locate) -> QualityMonitor:
        known = Reference.decode(locate(card.reference).read_bytes()) if card.reference is not None else None
        return QualityMonitor(card, known, sample_store)

    def offloader(card: Card) -> Offloader | None:
        if send is None or card.cascade is None:
            return None
        return Offloader(card, send, breakers[card.cascade.to], settings.consent, settings.patience, settings.tier)

    return Hooks(watch, offloader)


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop that this system has."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()
