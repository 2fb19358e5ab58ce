"""The models that a server has: which version is live, which stand beside it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fogline.inference.card import Card, PersonalOrigin
from fogline.inference.runtimes.base import Locate, Runtime
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.versions.blame import Witness
from fogline.serving.server.versions.concurrency import ConcurrencyLimit
from fogline.serving.server.versions.hooks import Hooks
from fogline.serving.server.versions.memory import give_back
from fogline.serving.server.versions.served import ServedModel
from fogline.serving.server.versions.shadow import Shadow
from fogline.serving.server.versions.warmup import warm_up
from fogline.serving.settings import Settings
from fogline.serving.slots import VersionSlot

Open = Callable[[Card, Locate], Runtime]
"""Loads a version."""

THREADS = 4
"""That run slow models and shadows."""


@dataclass
class ModelVersions:
    """The versions of a model."""

    card: Card
    """Of the version that was live last, to load it again,"""
    locate: Locate
    """where its files are;"""
    personal: PersonalOrigin | None = None
    """and where the part of it comes from that is this device's own."""
    live: ServedModel | None = None
    former: ServedModel | None = None
    """What was live before: labels for its answers may still come, and its last counts are still to be told."""
    shadow: Shadow | None = None
    versions: dict[str, ServedModel] = field(default_factory=dict)
    """All that are loaded."""

    def put(self, served: ServedModel) -> None:
        """Add a version; another one of that number goes."""
        before = self.versions.get(served.version)
        self.versions[served.version] = served
        if before is not None:
            if before is self.live:
                self.live, self.former = served, before
            before.retire()

    def take(self, served: ServedModel) -> None:
        """Unload a version."""
        del self.versions[served.version]
        if self.live is served:
            self.live, self.former = None, served
        if self.shadow is not None and self.shadow.served is served:
            self.shadow = None
        self.settle()
        served.retire()

    def clear(self) -> None:
        """Unload all versions."""
        for served in list(self.versions.values()):
            self.take(served)

    def promote(self, served: ServedModel) -> None:
        """Make a version that was put the live one; what was live goes."""
        before, self.live = self.live, served
        self.card, self.locate, self.personal = served.card, served.locate, served.personal
        if self.shadow is not None and self.shadow.served is served:
            self.shadow = None
        if before is not None and before is not served:
            self.former = before
            self.take(before)
        self.settle()

    def settle(self) -> None:
        """Tell the live version of its shadow."""
        if self.live is not None:
            self.live.shadow = None if self.shadow is None else self.shadow.offer


class Repository:
    """Models by name.

    Args:
        settings: of the server.
        open_: loads a version; it is called in a thread.
        hooks: who watches, and who is asked.
    """

    def __init__(self, settings: Settings, open_: Open, hooks: Hooks) -> None:
        self.lines: dict[str, ModelVersions] = {}
        self._coming: set[str] = set()
        """Models that will be loaded, as far as is known."""
        self._loading: Counter[tuple[str, str]] = Counter()
        """Versions that are being loaded."""
        self._settings = settings
        self._open = open_
        self._hooks = hooks
        self._pool = ThreadPoolExecutor(THREADS, "fogline-model")
        self._limit = ConcurrencyLimit(settings.concurrent)
        self._turn = asyncio.Lock()

    def __iter__(self) -> Iterator[ServedModel]:
        return (served for line in self.lines.values() for served in line.versions.values())

    def find(self, model: str, version: str = "") -> ServedModel:
        """A version that is loaded; without a number, that which is live.

        Raises:
            ProtocolError: there is none.
        """
        line = self.lines.get(model)
        served = None if line is None else line.versions.get(version) if version else line.live
        if served is None:
            self._check_coming(model, version)
            self._line(model)
            which = f"Version {version[:20]} of model" if version else "Model"
            raise ProtocolError(f"{which} '{model}' is not loaded.", 404)
        return served

    def chosen(self, model: str = "", version: str = "") -> list[ServedModel]:
        """A version, or all of a model, or all.

        Raises:
            ProtocolError: there is none of that name.
        """
        if version:
            return [self.find(model, version)]
        return list(self._known(model).versions.values()) if model else list(self)

    def answered(self, model: str, version: str = "") -> list[ServedModel]:
        """Versions that may have answered a request: one, or the live one and that which was live before.

        Raises:
            ProtocolError: there is none.
        """
        line = self._known(model)
        former = [one for one in (line.former,) if one is not None and version in ("", one.version)]
        try:
            return [self.find(model, version), *former]
        except ProtocolError:
            if not former:
                raise
            return former

    def watched(self) -> Iterator[ServedModel]:
        """All of whom there may be something to tell."""
        yield from self
        yield from (line.former for line in self.lines.values() if line.former is not None)

    def is_ready(self, model: str, version: str = "") -> bool:
        """Whether a model, or a version of it, answers.

        Raises:
            ProtocolError: there is no such model, and none is being loaded.
        """
        if model not in self.lines and self.is_coming(model, version):
            return False
        line = self._line(model)
        return version in line.versions if version else line.live is not None

    def expect(self, model: str, coming: bool = True) -> None:
        """A model will be loaded, as soon as its files are here; or will not (``coming``: False). Who asks for it
        meanwhile is told to come back."""
        (self._coming.add if coming else self._coming.discard)(model)

    def is_coming(self, model: str, version: str = "") -> bool:
        """Whether a model, or a version of it, is being loaded, or will be."""
        if version:
            return self._loading[model, version] > 0 or (model in self._coming and model not in self.lines)
        return model in self._coming or any(name == model and n > 0 for (name, _), n in self._loading.items())

    @property
    def coming(self) -> list[str]:
        """Models that do not answer yet, but will."""
        names = self._coming | {name for (name, _), n in self._loading.items() if n > 0}
        return sorted(name for name in names if name not in self.lines or self.lines[name].live is None)

    @property
    def ready(self) -> bool:
        """Whether there is any model that answers."""
        return any(line.live is not None for line in self.lines.values())

    async def load(
        self, card: Card, locate: Locate, slot: VersionSlot = "live", personal: PersonalOrigin | None = None
    ) -> ServedModel:
        """Load a version, and warm it up. The live one goes on answering until this one is ready.

        ``personal``: where the part of it comes from that is this device's own.

        Raises:
            ModelError: it cannot be loaded or run.
        """
        key = card.model, str(card.version)
        self._loading[key] += 1
        try:
            async with self._turn:
                served = await asyncio.to_thread(self._prepare, card, locate, personal)
                self._place(served, slot)
                return served
        finally:
            self._loading[key] -= 1
            self._loading += Counter()  # Without those that are loaded.

    def swap(self, model: str, version: str) -> None:
        """Make a version that stands beside the live one; what was live ends with its last request.

        Raises:
            ProtocolError: it is not loaded.
        """
        served = self.find(model, version)
        self._promote(self.lines[model], served)

    def drop(self, model: str, version: str) -> None:
        """Let a version go; one that is not loaded is no error."""
        line = self.lines.get(model)
        if line is not None and version in line.versions:
            line.take(line.versions[version])

    def unload(self, model: str) -> None:
        """Let all versions of a model go, for a client; :meth:`reload` brings back the one that was live.

        Raises:
            ProtocolError: there is no such model, or clients may not do this.
        """
        self._check_control()
        self._line(model).clear()

    async def reload(self, model: str) -> None:
        """Load the version again that was live last, or is, for a client.

        Raises:
            ModelError: it cannot be loaded.
            ProtocolError: there is no such model, or clients may not do this.
        """
        self._check_control()
        line = self._line(model)
        await self.load(line.card, line.locate, personal=line.personal)

    async def close(self) -> None:
        """Let everything go, after the last requests."""
        for line in self.lines.values():
            line.clear()
        await asyncio.to_thread(self._pool.shutdown)

    def _check_control(self) -> None:
        if not self._settings.control:
            raise ProtocolError("This server does not let its clients load and unload models.", 403)

    def _check_coming(self, model: str, version: str = "") -> None:
        if self.is_coming(model, version):
            raise ProtocolError(f"Model '{model[:100]}' is being loaded; try again soon.", 503)

    def _known(self, model: str) -> ModelVersions:
        """The versions of a model, some of which may be there already."""
        if model not in self.lines:
            self._check_coming(model)
        return self._line(model)

    def _line(self, model: str) -> ModelVersions:
        line = self.lines.get(model)
        if line is None:
            raise ProtocolError(f"There is no model '{model[:100]}' here.", 404)
        return line

    def _prepare(self, card: Card, locate: Locate, personal: PersonalOrigin | None) -> ServedModel:
        runtime = self._open(card, locate)
        watch, offloader = self._hooks.watch(card, locate), self._hooks.offloader(card)
        instant = warm_up(card, locate, runtime)
        give_back()
        shared = self._settings, self._pool, self._limit
        return ServedModel(card, locate, runtime, instant, *shared, watch, offloader, personal)

    def _promote(self, line: ModelVersions, served: ServedModel) -> None:
        before = line.live
        if before is not None and before.card.version < served.card.version:
            served.before = Witness(before.card, before.locate, self._open)
        line.promote(served)
        self._coming.discard(served.card.model)

    def _place(self, served: ServedModel, slot: VersionSlot) -> None:
        line = self.lines.setdefault(served.card.model, ModelVersions(served.card, served.locate))
        line.put(served)
        if slot == "live":
            self._promote(line, served)
        elif slot == "shadow":
            line.shadow = Shadow(served, self._pool)
            line.settle()
