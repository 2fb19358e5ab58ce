"""A device charges its owner's ledger before it trains for a job."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING

from fogline.errors import FoglineError
from fogline.network.node.context import NodeContext
from fogline.network.transport.messages import JobAnnouncement, LedgerEnd

if TYPE_CHECKING:
    from fogline.jobs.job import Job


class Charging:
    """What a job with ``[privacy]`` gives away of the data here.

    Args:
        name: of the job.
        job: the job.
        node: the device.
        samples: examples that it has.
        text: a digest of the job's: another job may come under the same name.
    """

    def __init__(self, name: str, job: Job, node: NodeContext, samples: int, text: str) -> None:
        self.spent = ""
        """Why the data here gives away nothing more for the job; empty: it may."""
        self._name = name
        self._job = job
        self._node = node
        self._samples = samples
        self._text = text

    @classmethod
    def of(cls, announcement: JobAnnouncement, node: NodeContext, samples: int) -> Charging | None:
        """Of a job as it was announced; None where it counts nothing.

        Raises:
            JobError: it is no job.
        """
        if "privacy" not in tomllib.loads(announcement.text):
            return None
        from fogline.jobs.files.reading import parse_job  # Not above: a device that only trains need not read jobs.

        digest = hashlib.sha256(announcement.text.encode()).hexdigest()[:16]
        return cls(announcement.job, parse_job(announcement.text), node, samples, digest)

    @property
    def hides_size(self) -> bool:
        """Whether how many examples the device has is protected as well: of single ones, it is no secret."""
        privacy = self._job.privacy
        return privacy is not None and privacy.unit != "example"

    async def allow(self, times: int, begun: str) -> str | None:
        """Write down what one more training gives away; why it must not be, if so. The parent gets the new end of the
        ledger before anything that is trained.

        Args:
            times: how often the device has trained for the job, with this time, since it began it;
            begun: tells that beginning from all others.
        """
        from fogline.jobs.protection.budget import charge_of

        node, start = self._node, f"{begun} {self._text}"
        try:
            end = await node.spending.charge(charge_of(self._job, self._name, times, self._samples, start))
        except FoglineError as error:  # It must not, it cannot be written down, or nobody can say what it would cost.
            self.spent = str(error)
            return self.spent
        if end is not None:
            ledger = node.spending.ledger
            node.audit.note("privacy.spent", node.name, self._name, entry=ledger.number, ledger=ledger.digest)
        if end is not None and node.uplink is not None:
            node.uplink.send(LedgerEnd(node.name, end))
        return None
