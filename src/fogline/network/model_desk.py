"""What people ask of the cloud about models: its versions, and where they go."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.governance.subject import Subject
from fogline.inference.card import ModelName
from fogline.network.contract import Blob
from fogline.network.desk import Answers, Text, answering
from fogline.network.downlink import Downlink
from fogline.network.wire import Methods
from fogline.registry.publisher import Publisher
from fogline.registry.standing import Standing, Steer
from fogline.storage import Blobs


class Which(msgspec.Struct, frozen=True):
    """A model, and a version of it."""

    model: ModelName
    version: int = 0
    """0: the newest."""


class AnyModel(msgspec.Struct, frozen=True):
    """A model, or all."""

    model: str = ""


class Charter(msgspec.Struct, frozen=True):
    """All that the operator's offline keys have signed."""

    data: bytes


class Linked(msgspec.Struct, frozen=True):
    """A small model that is to ask a larger one where it is not sure."""

    model: ModelName
    to: ModelName
    accuracy: Annotated[float, Meta(ge=0, le=1)] | None = None
    """The least that the pair must reach,"""
    budget: Annotated[float, Meta(ge=0, le=1)] | None = None
    """or the most that may be sent up."""


class Retrain(msgspec.Struct, frozen=True):
    """When inputs have moved so far, the job that made the version runs again."""

    model: ModelName
    psi: Annotated[float, Meta(gt=0)] | None
    """None: never."""
    cooldown: float = 86400.0
    """Seconds between two such runs at least."""


class ModelDesk:
    """The methods of the cloud for models.

    Args:
        publisher: the registry.
        blobs: where files lie that operators bring.
        downlink: says who calls, and takes files.
    """

    def __init__(self, publisher: Publisher, blobs: Blobs, downlink: Downlink) -> None:
        self._publisher = publisher
        self._blobs = blobs
        self._downlink = downlink

    def methods(self) -> Methods:
        """For operators."""
        answers: Answers = {
            "Models": (AnyModel, self._models),
            "Steer": (Steer, self._steer),
            "Charter": (AnyModel, self._charter),
            "Adopt": (Charter, self._adopt),
            "Export": (Which, self._export),
            "Import": (Blob, self._import),
            "Link": (Linked, self._link),
            "Retrain": (Retrain, self._retrain),
        }
        return answering(self._downlink, answers)

    async def _models(self, asked: AnyModel, _: Subject) -> list[Standing]:
        return await asyncio.to_thread(self._publisher.standings, asked.model)

    async def _steer(self, asked: Steer, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._publisher.steer, asked, by.name))

    async def _charter(self, _: AnyModel, __: Subject) -> Charter:
        return Charter(await asyncio.to_thread(self._publisher.charter))

    async def _adopt(self, asked: Charter, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._publisher.adopt, asked.data, by.name))

    async def _export(self, asked: Which, _: Subject) -> Blob:
        digest, size = await asyncio.to_thread(self._publisher.export, asked.model, asked.version)
        return Blob(digest, size)

    async def _import(self, asked: Blob, by: Subject) -> Text:
        try:
            path = await asyncio.to_thread(self._blobs.path, asked.digest)
            return Text(await asyncio.to_thread(self._publisher.take_in, path, by.name))
        finally:
            await asyncio.to_thread(self._blobs.delete, asked.digest)

    async def _link(self, asked: Linked, by: Subject) -> Text:
        return Text(
            await asyncio.to_thread(self._publisher.link, asked.model, asked.to, asked.accuracy, asked.budget, by.name)
        )

    async def _retrain(self, asked: Retrain, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._publisher.retrain, asked.model, asked.psi, asked.cooldown, by.name))
