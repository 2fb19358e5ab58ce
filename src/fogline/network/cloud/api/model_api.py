"""What people ask of the cloud about models: its versions, and where they go."""

from __future__ import annotations

import asyncio

import msgspec

from fogline.governance.signatures.signers import Signer
from fogline.governance.subject import Subject, fits
from fogline.network.cloud.api.operator_api import Answers, answering
from fogline.network.cloud.requests import (
    AnyModel,
    Linked,
    NewReleaseKeys,
    OfflineMetadataMessage,
    SetRetrainRule,
    Text,
    Which,
)
from fogline.network.node.auditing import AuditTrail
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.grpc import Methods
from fogline.network.transport.messages import Blob
from fogline.registry.model_report import ModelReport, Steer
from fogline.registry.publisher import Publisher
from fogline.storage import Blobs


def narrowed(report: ModelReport, by: Subject) -> ModelReport:
    """What is known of a model, without the names of nodes to which a role is not limited."""
    return msgspec.structs.replace(report, outcomes=tuple(one for one in report.outcomes if fits(one.node, by.nodes)))


class ModelApi:
    """The methods of the cloud for models.

    Args:
        publisher: the registry.
        blobs: where files lie that operators bring.
        downlink: says who calls, and takes files.
        audit: the cloud's.
    """

    def __init__(self, publisher: Publisher, blobs: Blobs, downlink: Downlink, audit: AuditTrail) -> None:
        self._audit = audit
        self._publisher = publisher
        self._blobs = blobs
        self._downlink = downlink

    def methods(self) -> Methods:
        """The calls about models that operators may make, by name."""
        answers: Answers = {
            "Models": (AnyModel, self._models),
            "Steer": (Steer, self._steer),
            "OfflineMetadata": (AnyModel, self._offline_metadata),
            "Adopt": (OfflineMetadataMessage, self._adopt),
            "NewReleaseKeys": (NewReleaseKeys, self._new_release_keys),
            "Export": (Which, self._export),
            "Import": (Blob, self._import),
            "Link": (Linked, self._link),
            "Retrain": (SetRetrainRule, self._retrain),
        }
        return answering(self._downlink, self._audit, answers)

    async def _models(self, asked: AnyModel, by: Subject) -> list[ModelReport]:
        reports = await asyncio.to_thread(self._publisher.model_reports, asked.model)
        return [narrowed(report, by) for report in reports]

    async def _steer(self, asked: Steer, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._publisher.steer, asked, by.name))

    async def _offline_metadata(self, _: AnyModel, __: Subject) -> OfflineMetadataMessage:
        return OfflineMetadataMessage(await asyncio.to_thread(self._publisher.offline_metadata))

    async def _adopt(self, asked: OfflineMetadataMessage, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._publisher.adopt, asked.data, by.name))

    async def _new_release_keys(self, _: NewReleaseKeys, by: Subject) -> tuple[Signer, ...]:
        return await asyncio.to_thread(self._publisher.new_release_keys, by.name)

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
