"""What every node measures of itself: cloud, fog and device alike."""

from __future__ import annotations

import math
import shutil
from contextlib import suppress
from importlib.metadata import version

from fogline.governance.errors import ExpiredIdentityError
from fogline.monitoring.metrics.exposition import Family, Measured, MetricSample
from fogline.network.node.monitor.watch import Watch
from fogline.network.node.process import RunningNode

INFO = Family("fogline_node_info", "gauge", "1; its labels say which node it is", ("node", "role", "version"))
CONNECTED = Family("fogline_node_connected", "gauge", "Whether a parent is connected; a cloud has none")
LOST = Family("fogline_node_connections_lost_total", "counter", "Connections to a parent that broke")
CHILDREN = Family("fogline_node_children", "gauge", "Children that are connected", ("role",))
BYTES = Family(
    "fogline_node_blob_bytes_total", "counter", "Bytes of models and updates to and from children", ("direction",)
)
JOBS = Family("fogline_node_jobs", "gauge", "Jobs that it takes part in")
REFUSED = Family("fogline_node_jobs_refused_total", "counter", "Jobs that it does not take part in")
TRAINING = Family("fogline_node_training", "gauge", "Whether it trains or judges now")
TRAININGS = Family("fogline_node_trainings_total", "counter", "Trainings and judgements that it began")
MISHAPS = Family("fogline_node_mishaps_total", "counter", "What went wrong in jobs here, by kind", ("kind",))
CERTIFICATE = Family(
    "fogline_node_certificate_expiry_timestamp_seconds", "gauge", "Unix time at which its certificate expires"
)
DISK_FREE = Family("fogline_node_disk_free_bytes", "gauge", "Room on the disk of its folder")
DISK_SIZE = Family("fogline_node_disk_size_bytes", "gauge", "Size of that disk")
SPENT = Family("fogline_node_privacy_spent_epsilon", "gauge", "ε that its data has given away, if limited")
LIMIT = Family("fogline_node_privacy_limit_epsilon", "gauge", "ε that its owner allows")
FAMILIES = (
    *(INFO, CONNECTED, LOST, CHILDREN, BYTES, JOBS, REFUSED, TRAINING, TRAININGS, MISHAPS),
    *(CERTIFICATE, DISK_FREE, DISK_SIZE, SPENT, LIMIT),
)


class NodeMetrics:
    """A node's own metrics.

    Args:
        up: the node, which runs.
        watch: counted what it told from its start.
    """

    def __init__(self, up: RunningNode, watch: Watch) -> None:
        self._node = up.node
        self._watch = watch
        self._expires = up.identity.expires

    def measured(self) -> Measured:
        """These metrics now."""
        node, watch = self._node, self._watch
        role = "cloud" if node.cloud is not None else "device" if node.downlink is None else "fog"
        yield INFO, [MetricSample(1, (node.name, role, version("fogline")))]
        if node.uplink is not None:
            yield CONNECTED, [MetricSample(node.uplink.parent is not None)]
            yield LOST, [MetricSample(watch.lost)]
        if node.downlink is not None:
            roles = [session.subject.role for session in node.sessions()]
            yield CHILDREN, [MetricSample(roles.count(one), (one,)) for one in ("fog", "device")]
            yield BYTES, [MetricSample(watch.down, ("down",)), MetricSample(watch.up, ("up",))]
        yield JOBS, [MetricSample(len(node.job_manager.participations))]
        yield REFUSED, [MetricSample(watch.refused)]
        yield TRAINING, [MetricSample(watch.training)]
        yield TRAININGS, [MetricSample(watch.trainings)]
        yield MISHAPS, [MetricSample(count, (kind,)) for kind, count in sorted(node.mishaps.items())]
        yield CERTIFICATE, [MetricSample(self._expiry())]
        disk = shutil.disk_usage(node.folder)
        yield DISK_FREE, [MetricSample(disk.free)]
        yield DISK_SIZE, [MetricSample(disk.total)]
        yield from self._privacy()

    def _expiry(self) -> float:
        """When the certificate expires that the node has by now; of one that has expired, when it did."""
        if self._node.credentials is not None:
            with suppress(ExpiredIdentityError):
                self._expires = self._node.credentials().expires
        return self._expires

    def _privacy(self) -> Measured:
        budget = self._node.admission.budget()
        if budget is not None:
            spent = self._node.spending.ledger.epsilon
            yield SPENT, [MetricSample(math.inf if spent is None else spent)]
            yield LIMIT, [MetricSample(budget.epsilon)]
