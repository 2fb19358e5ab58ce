"""What people ask of the cloud about models: its versions, and where they go."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.governance.subject import Subject
from fogline.inference.card import ModelName
from fogline.network.cloud.operator_api import Answers, Text, answering
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.grpc import Methods
from fogline.network.transport.messages import Blob
from fogline.registry.model_report import ModelReport, Steer
from fogline.registry.publisher import Publisher
from fogline.storage import Blobs


class Which(msgspec.Struct, frozen=True):
    """A model, and a version of it."""

    model: ModelName
    version: int = 0
    """0: the newest."""


class AnyModel(msgspec.Struct, frozen=True):
    """A model, or all."""

    model: str = ""


class OfflineMetadataMessage(msgspec.Struct, frozen=True):
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


class SetRetrainRule(msgspec.Struct, frozen=True):
    """When inputs have moved so far, the job that made the version runs again."""

    model: ModelName
    psi: Annotated[float, Meta(gt=0)] | None
    """None: never."""
    cooldown: float = 86400.0
    """Seconds between two such runs at least."""


class ModelApi:
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
            "OfflineMetadata": (AnyModel, self._offline_metadata),
            "Adopt": (OfflineMetadataMessage, self._adopt),
            "Export": (Which, self._export),
            "Import": (Blob, self._import),
            "Link": (Linked, self._link),
            "Retrain": (SetRetrainRule, self._retrain),
        }
        return answering(self._downlink, answers)

    async def _models(self, asked: AnyModel, _: Subject) -> list[ModelReport]:
        return await asyncio.to_thread(self._publisher.model_reports, asked.model)

    async def _steer(self, asked: Steer, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._publisher.steer, asked, by.name))

    async def _offline_metadata(self, _: AnyModel, __: Subject) -> OfflineMetadataMessage:
        return OfflineMetadataMessage(await asyncio.to_thread(self._publisher.offline_metadata))

    async def _adopt(self, asked: OfflineMetadataMessage, by: Subject) -> Text:
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

    async def _retrain(self, asked: SetRetrainRule, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._publisher.retrain, asked.model, asked.psi, asked.cooldown, by.name))
