"""What the cloud hears of nodes: who came and went in the whole tree, and what an operator should know of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fogline.network.transport.messages import ClonedIdentity, HeldRevocations, JobLog, NewerTimestamp, NodeSeen

if TYPE_CHECKING:
    from fogline.governance.subject import Subject
    from fogline.network.transport.messages import Push
    from fogline.network.transport.uplink import Uplink


class Cloud(Protocol):
    """What the root of the tree does beside: it hears everything."""

    def seen(self, seen: NodeSeen) -> None:
        """A node came or went."""
        ...

    def holds(self, holds: HeldRevocations) -> None:
        """An aggregator has newer lists of revoked nodes now."""
        ...

    def twins(self, twins: ClonedIdentity) -> None:
        """Two programs show one identity."""
        ...

    def arrived(self, name: str, since: int) -> None:
        """A child of the root is there, whose certificate says since when it is a member."""
        ...

    def shown(self, timestamp: bytes) -> None:
        """A node has a newer timestamp of releases."""
        ...

    def recalled(self) -> None:
        """A node had revocations that were forgotten here."""
        ...

    def told(self, told: JobLog) -> None:
        """Something for a job's report."""
        ...

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a bundle is not wanted; None if it is."""
        ...

    def has_ended(self, job: str) -> bool:
        """Whether a job is over, or never was."""
        ...


class Teller(Protocol):
    """The node whose news these are."""

    cloud: Cloud | None
    uplink: Uplink | None


class NewsRelay:
    """Takes news to the cloud: at the root it is here, elsewhere above.

    Args:
        node: whose part it is.
    """

    def __init__(self, node: Teller) -> None:
        self._node = node
        self._there: dict[str, tuple[str, NodeSeen]] = {}
        """Nodes below that are connected, and the child behind which they are."""

    def seen(self, seen: NodeSeen, child: str) -> None:
        """A node came or went behind a child."""
        if seen.up:
            self._there[seen.name] = (child, seen)
        elif seen.name in self._there and self._there[seen.name][1].parent == seen.parent:
            del self._there[seen.name]
        self.tell(seen)

    def lost(self, child: str) -> None:
        """A child is gone: what is behind it tells of itself again when it is back."""
        self._there = {name: entry for name, entry in self._there.items() if entry[0] != child}

    def repeat(self) -> None:
        """The parent is there (again), and the cloud may have been restarted: all that are there are told anew."""
        for _, seen in self._there.values():
            self.tell(seen)

    def tell(self, news: NodeSeen | HeldRevocations | ClonedIdentity | NewerTimestamp | JobLog) -> None:
        """To the cloud."""
        cloud, uplink = self._node.cloud, self._node.uplink
        if cloud is None:
            if uplink is not None:
                uplink.send(news)
            return
        match news:
            case NodeSeen():
                cloud.seen(news)
            case HeldRevocations():
                cloud.holds(news)
            case ClonedIdentity():
                cloud.twins(news)
            case NewerTimestamp():
                cloud.shown(news.timestamp)
            case JobLog():
                cloud.told(news)
