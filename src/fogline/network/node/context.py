"""What the parts of a node know of it, and of the cloud at the root: walls, so that a part can be tested alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from fogline.governance.identity.credentials import Credentials
from fogline.governance.policy.offers import Offers
from fogline.governance.subject import Subject
from fogline.inference.personal_parts import PersonalParts
from fogline.monitoring.tracing.tracer import Tracer
from fogline.network.node.auditing import AuditTrail
from fogline.network.node.mirror import Releases, ServingPart
from fogline.network.node.site.admission import AdmissionControl
from fogline.network.node.slots import PrioritySemaphore
from fogline.network.node.spending import Spending
from fogline.network.node.status import StatusChange
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import NOTHING, Blob, DownFrame, News, Push
from fogline.network.transport.uplink import Uplink
from fogline.network.worker.requests import WorkerLimits
from fogline.storage import Database

if TYPE_CHECKING:
    from fogline.network.transport.downlink import Downlink
    from fogline.network.transport.session import Session


class SiteSettings(msgspec.Struct, frozen=True):
    """What the owner of a machine says of it."""

    client: str = ""
    """Whose data lies here, by the name that tasks give it; empty: the node's own name."""
    parameters: dict[str, str | int | float | bool] = {}
    """Parameters of tasks that hold here, such as where the data lies."""
    offers: Offers = NOTHING
    limits: WorkerLimits = WorkerLimits()
    trainings: int = 1
    """Trainings at the same time."""


class Cloud(Protocol):
    """What the root of the tree does beside: it hears everything."""

    def hear(self, news: News) -> None:
        """Something that a node has to tell."""
        ...

    def arrived(self, name: str, since: int) -> None:
        """A child of the root is there, whose certificate says since when it is a member."""
        ...

    def recalled(self) -> None:
        """A node had revocations that were forgotten here."""
        ...

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a bundle is not wanted; None if it is."""
        ...

    def bundle(self, digest: str) -> Blob | None:
        """The bundle of a job, over or not; None where it is none's."""
        ...

    def withheld(self, subject: Subject, digest: str) -> str | None:
        """Why somebody may not have a job's bundle: that of a job that is over only operators may have, and the
        developer whose it was; None if he may."""
        ...

    def has_ended(self, job: str) -> bool:
        """Whether a job is over, or never was."""
        ...


class NodeContext(Protocol):
    """What the parts of a node need of it."""

    name: str
    database: Database
    value_store: ValueStore
    admission: AdmissionControl
    site: SiteSettings
    slots: PrioritySemaphore
    uplink: Uplink | None
    downlink: Downlink | None
    """None: the node is a leaf."""
    cloud: Cloud | None
    """At the root."""
    releases: Releases | None
    """Where models come from that are served here or below."""
    serving: ServingPart | None
    """The part that serves, where there is one."""
    on_change: Callable[[StatusChange], None]
    credentials: Callable[[], Credentials] | None
    """What shows who this node is; None where it shows nobody."""
    personal: PersonalParts
    """What this device has of its own of the models that it trains."""
    spending: Spending
    """What the data here has given away."""
    audit: AuditTrail
    """What was decided and done here."""
    tracer: Tracer
    """Told of rounds."""

    def say(self, child: str, frame: DownFrame) -> None:
        """To a child; dropped where it is not connected."""
        ...

    def say_to_all(self, frame: DownFrame) -> None:
        """Send a frame to every child that is connected."""
        ...

    def sessions(self) -> list[Session]:
        """The children that are connected."""
        ...

    def tell(self, news: News) -> None:
        """Something that the cloud is to hear."""
        ...

    def carried(self, down: int, up: int) -> None:
        """So many bytes of blobs went to a child, or came from one."""
        ...

    def log_file(self, job: str) -> Path:
        """What a job's code prints on this node."""
        ...
