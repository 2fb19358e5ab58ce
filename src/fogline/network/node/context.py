"""What the parts of a node know of it: a wall, so that a job's part can be tested without a network around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from fogline.governance.policy.offers import Offers
from fogline.network.node.admission import AdmissionControl
from fogline.network.node.slots import PrioritySemaphore
from fogline.network.node.status import StatusChange
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import NOTHING, Down, JobAnnouncement, JobLog
from fogline.network.transport.uplink import Uplink
from fogline.network.worker.requests import WorkerLimits
from fogline.storage import Database

if TYPE_CHECKING:
    from fogline.network.node.news import Cloud
    from fogline.network.transport.downlink import Downlink


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


class NodeContext(Protocol):
    """What jobs need of their node."""

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
    on_change: Callable[[StatusChange], None]

    def say(self, child: str, frame: Down) -> None:
        """To a child; dropped where it is not connected."""
        ...

    def say_to_all(self, frame: Down) -> None:
        """To every child."""
        ...

    def tell(self, told: JobLog) -> None:
        """Something for the job's report, upward to the cloud."""
        ...

    def offer(self, announcement: JobAnnouncement) -> None:
        """Tell the children of a job."""
        ...

    def log_file(self, job: str) -> Path:
        """What a job's code prints on this node."""
        ...
