"""Who is connected in the whole tree, and what an operator should know of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.people import signs_in
from fogline.network.cloud.records import NodeInfo
from fogline.network.cloud.registrar import member_since_of
from fogline.network.node.node import Node
from fogline.network.node.services.revocations import RevocationService
from fogline.network.timing import HEARD, NOTICED
from fogline.network.transport.messages import ClonedIdentity, ForkedLog, HeldRevocations, NodeSeen
from fogline.processes.tasks import Tasks
from fogline.registry.publisher import Publisher
from fogline.registry.release import NodeKind
from fogline.storage import StorageError

log = logging.getLogger("fogline.network")


def arrival(name: str, at: Sequence[str], late: Sequence[str], away: Sequence[str], *, person: bool) -> str:
    """Where a node, or a person who signs in with a provider, is cut off after a revocation, and where not yet."""
    if not late and not away:
        others = f" Heard by {', '.join(at)}." if len(at) > 1 else ""
        back = "it is turned away whenever it signs in" if person else "to come back it needs a new token"
        return f"{name} is cut off; {back}.{others}"
    missing = [*(f"{fog} (connected, but did not answer)" for fog in late), *(f"{fog} (away)" for fog in away)]
    return (
        f"{name} is revoked, and cut off at {', '.join(at)}, but not yet below {', '.join(missing)}: until these have "
        "heard of it, which they do when they are connected, it can still come in there."
    )


TWINS = "two programs use the identity of"
"""How the warning begins that is over once a node was started again: if its copy is still there, it is told anew."""


def twin_warning(twins: ClonedIdentity) -> str:
    """What the operator is told of two programs with one identity."""
    return (
        f"{TWINS} {twins.name}: one at {twins.here or '?'}, connected to {twins.parent}, and "
        f"one at {twins.there or '?'}. If its folder was copied, run: fogline nodes revoke {twins.name}, and let each "
        f"machine join with a token and a name of its own; where the copy was stopped, start {twins.name} again"
    )


def _same(before: NodeInfo, seen: NodeSeen) -> bool:
    """Whether a node is only told of once more: by a fog whose connection was lost for a moment."""
    return seen.up and before.up and (before.parent, before.instance) == (seen.parent, seen.instance)


class FleetMonitor:
    """Knows the nodes of the tree, and cuts off who is revoked.

    Args:
        node: the root of the tree.
        job_store: where they are kept.
        publisher: told of nodes that serve.
    """

    def __init__(self, node: Node, job_store: JobStore, publisher: Publisher) -> None:
        self._node = node
        self._job_store = job_store
        self._publisher = publisher
        self.on_recall: Callable[[], None] = lambda: None
        """Told that somebody may have been revoked."""
        self._doubts: dict[str, tuple[asyncio.TimerHandle, NodeInfo]] = {}
        """Names under which two programs may be connected, until their first parent says that the first is gone."""
        self._tasks = Tasks(node.name)

    def close(self) -> None:
        """Stop."""
        self._tasks.cancel()
        for timer, _ in self._doubts.values():
            timer.cancel()

    async def revoke(self, name: str) -> str:
        """Cut a node off; a sentence on where it is cut off by now."""
        node, unkept = self._node, ""
        try:
            node.admission.revoke(name)
        except StorageError as error:
            unkept = f" The cloud cannot keep that beyond a restart: {error}."
        log.warning("%s is revoked", name)
        node.service(RevocationService).spread()
        self.recalled()
        await self._job_store.until(lambda: not self._fogs(name, up=True), HEARD)
        late, away = self._fogs(name, up=True), self._fogs(name, up=False)
        person = signs_in(node.database, name)
        return arrival(name, [node.name, *self._reached(name)], late, away, person=person) + unkept

    def forget(self, name: str) -> str:
        """Know nothing more of a node that was revoked; a sentence on what is kept.

        Raises:
            LookupError: there is none of that name.
            ValueError: it is a member still, or connected.
        """
        known = self._job_store.nodes.get(name)
        if known is None:
            raise LookupError(f"no node named '{name}' has been connected")
        if known.up or not self._is_over(name):
            raise ValueError(
                f"{name} is a member, and would be back by itself; revoke it first: fogline nodes revoke {name}"
            )
        self._job_store.forget_node(name)
        return (
            f"{name} is forgotten. That it was revoked is kept, so that it stays cut off, and so is what the audit log "
            "says of it."
        )

    def recalled(self) -> None:
        """There are newer lists of revoked nodes: whoever used an identity that is on them is cut off."""
        for known in list(self._job_store.nodes.values()):
            if known.warning and self._is_over(known.name):
                self._job_store.warn(known.name, "")
        self.on_recall()

    def _is_over(self, name: str) -> bool:
        """Whether a node was revoked, and has not joined anew since."""
        revocations, since = self._node.admission.revocations, member_since_of(self._node.database, name)
        return revocations.ended(name, since) if since is not None else name.lower() in revocations.names

    def _fogs(self, name: str, up: bool) -> list[str]:
        """Fogs that have not heard of the newest revocations."""
        admission = self._node.admission
        return [
            fog.name
            for fog in self._aggregators(name)
            if fog.up == up
            and fog.holds != admission.holds
            and (up or fog.name.lower() not in admission.revocations.names)
        ]

    def _reached(self, name: str) -> list[str]:
        return [fog.name for fog in self._aggregators(name) if fog.holds == self._node.admission.holds]

    def _aggregators(self, but: str) -> list[NodeInfo]:
        return [
            node for node in self._job_store.nodes.values() if node.role == "fog" and node.name.lower() != but.lower()
        ]

    def serving(self) -> dict[str, NodeKind]:
        """Nodes that are connected and answer predictions, with their tiers."""
        found: dict[str, NodeKind] = {
            known.name: "fog" if known.role == "fog" else "device"
            for known in self._job_store.nodes.values()
            if known.up and known.serves
        }
        if self._node.serving is not None:
            found[self._node.name] = "cloud"
        return found

    def cautious(self) -> frozenset[str]:
        """Nodes that serve only versions that people approved."""
        own = self._node.serving
        here = frozenset({self._node.name} if own is not None and own.channel == "stable" else ())
        return here | {known.name for known in self._job_store.nodes.values() if known.serves == "stable"}

    # What nodes tell.

    def seen(self, seen: NodeSeen) -> None:
        """A node came or went."""
        before = self._job_store.nodes.get(seen.name)
        self._look_for_twins(seen, before)
        if not seen.up and before is not None and before.parent != seen.parent:
            return  # It has moved to another parent, and the old one noticed late.
        self._job_store.met(
            NodeInfo(
                seen.name,
                seen.role,
                seen.parent,
                seen.up,
                before.since if before is not None and _same(before, seen) else time.time(),
                seen.offers,
                seen.why,
                seen.serves,
                seen.address,
                seen.instance,
                seen.holds,
                self._still_to_be_said(seen, before),
            )
        )
        if seen.serves:
            self._tasks.spawn(asyncio.to_thread(self._publisher.seen))

    def _still_to_be_said(self, seen: NodeSeen, before: NodeInfo | None) -> str:
        """The warning of a node, without that of a copy which was there before it was started again."""
        if before is None:
            return ""
        again = seen.up and seen.instance != before.instance and seen.name not in self._doubts
        return "" if again and before.warning.startswith(TWINS) else before.warning

    def _look_for_twins(self, seen: NodeSeen, before: NodeInfo | None) -> None:
        """Two programs with one identity below two parents: neither parent sees both.

        One that was started again, below another parent, is no copy: the parent of before notices in a while.
        """
        if not seen.up:
            if seen.name in self._doubts and self._doubts[seen.name][1].parent == seen.parent:
                self._doubts.pop(seen.name)[0].cancel()
            return
        if before is None or not before.up or before.parent == seen.parent or not before.instance:
            return
        if before.instance != seen.instance and seen.name not in self._doubts:
            timer = asyncio.get_running_loop().call_later(NOTICED, self._found_twins, seen, before)
            self._doubts[seen.name] = (timer, before)

    def _found_twins(self, seen: NodeSeen, before: NodeInfo) -> None:
        self._doubts.pop(seen.name, None)
        self.twins(ClonedIdentity(seen.name, seen.parent, seen.address, before.address))

    def holds(self, holds: HeldRevocations) -> None:
        """A fog has newer lists of revoked nodes now."""
        self._job_store.noted(holds.name, holds=holds.holds)

    def forked(self, forked: ForkedLog) -> None:
        """Tell of an audit log that was written anew, or went back to a backup."""
        self._job_store.warn(
            forked.name,
            f"the audit log of {forked.name} had {forked.was} records when {forked.witness} saw it last, and does not "
            f"begin with them now (it has {forked.size}): the node went back to a backup, or its log was written anew. "
            "Both ends are in the log of who saw it; compare them with: fogline audit verify",
        )

    def twins(self, twins: ClonedIdentity) -> None:
        """Two programs show one identity; of one that was revoked meanwhile, neither comes in."""
        if not self._is_over(twins.name):
            self._job_store.warn(twins.name, twin_warning(twins))
