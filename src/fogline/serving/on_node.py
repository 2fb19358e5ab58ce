"""The serving part of a node: its server, its updates, and the way of questions and reports to and from the tree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from fogline.governance.identity.checked import credentials
from fogline.governance.policy.policy import read_policy
from fogline.governance.policy.terms import Channel, Serve
from fogline.inference.card import Asset
from fogline.network.node.mirror import ReleaseMirror, Releases, ask_parent
from fogline.network.node.node import Node
from fogline.network.node.process import Attach, NodeFolder
from fogline.network.node.retention import SERVER_LOG
from fogline.network.node.status import StatusChange
from fogline.processes.tasks import Tasks
from fogline.registry.release import Outcome, Vitals
from fogline.registry.trust.names import TIMESTAMP
from fogline.serving.process import ServerProcess
from fogline.serving.requests import ServerReady
from fogline.serving.settings import Settings
from fogline.serving.update.installing.installer import ProcessInstaller
from fogline.serving.update.manual_revert import listening_for_reverts
from fogline.serving.update.ports import ServerError
from fogline.serving.update.updater import Updater
from fogline.storage import Database

log = logging.getLogger("fogline.serving")


def attaching(place: NodeFolder, settings: Settings) -> Attach:
    """What makes a node serve.

    Args:
        place: the node's.
        settings: of its server; what the owner's policy says of samples counts besides.
    """

    async def attach(node: Node, database: Database, stack: AsyncExitStack) -> None:
        assert node.releases is not None
        policy = read_policy(place.policy).serve
        serving = NodeServing(node, node.releases, database, place, allowed(settings, policy, place.folder), policy)
        await serving.start()
        stack.push_async_callback(serving.close)
        stack.enter_context(listening_for_reverts(place, database, serving.updater))
        node.serving = serving

    return attach


def allowed(settings: Settings, policy: Serve, folder: Path) -> Settings:
    """Settings within what the owner of the data allows."""
    samples = str(folder / "samples") if policy.keep else ""
    return msgspec.structs.replace(
        settings, consent=policy.offload, samples=samples, samples_bytes=policy.keep or settings.samples_bytes
    )


class NodeServing:
    """Keeps a node's predictions up, and right.

    Args:
        node: whose part it is.
        releases: where models come from.
        database: the node's records.
        place: its folder.
        settings: of its server.
        policy: the owner's.
    """

    def __init__(
        self,
        node: Node,
        releases: Releases,
        database: Database,
        place: NodeFolder,
        settings: Settings,
        policy: Serve,
    ) -> None:
        folder = place.folder / "serving"
        self.channel: Channel = policy.channel
        self._node = node
        self._releases = releases
        self._tasks = Tasks(node.name)
        self._serving: list[asyncio.Task[None]] = []
        self.server = ServerProcess(
            settings,
            node.log_file(SERVER_LOG),
            lambda: self.updater.serving(),
            self._listens,
            lambda why: self.updater.crashed(why),
            lambda one, why: self.updater.broken(one.model, one.version, why),
            self._pulse,
            self._above,
        )
        authority = credentials(place.identity).root
        installer = ProcessInstaller(folder, authority, variants=settings.variants)
        self.updater = Updater(
            node.name,
            settings.tier,
            policy.channel,
            database,
            folder,
            releases.store,
            node.personal,
            UpstreamAdapter(releases, self._tell),
            self.server,
            installer,
            variants=settings.variants,
        )

    async def start(self) -> None:
        """Go on with what the journal says, also without a parent.

        Raises:
            StorageError: the journal cannot be read.
        """
        self.updater.recover()
        if isinstance(self._releases, ReleaseMirror):
            self._releases.pinned = self.updater.needed
        self._serving = [asyncio.create_task(self.server.run()), asyncio.create_task(self.updater.run())]
        for task in self._serving:
            task.add_done_callback(self._ended)
        self.updater.fresh(self._releases.timestamp)

    async def close(self) -> None:
        """Stop the server and the updates in good order."""
        await self.updater.close()
        self._tasks.cancel()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def fresh(self, timestamp: bytes) -> None:
        """There may be a release; also said when the parent is there again."""
        self.updater.fresh(timestamp)

    def personal(self, model: str) -> None:
        """This device has a newer part of its own of a model."""
        self.updater.personal(model)

    async def infer(self, ask: bytes, seconds: float) -> bytes:
        """Answer for a child whose own model was not sure.

        Raises:
            LookupError: it cannot; the text says why.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self.server.infer(ask)
        except TimeoutError:
            raise LookupError(f"{self._node.name} did not answer within {seconds:g} s") from None
        except ServerError as error:
            raise LookupError(f"{self._node.name} cannot answer: {error}") from error

    async def _above(self, ask: bytes, seconds: float) -> bytes:
        """Have the parent answer.

        Raises:
            LookupError: there is none, or it cannot.
        """
        if self._node.uplink is None:
            raise LookupError("there is no tier above this one")
        return await ask_parent(self._node.uplink, ask, seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """It goes on for as long as the node does; if it does not, somebody has to know."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("a part of serving has failed; restart %s", self._node.name, exc_info=task.exception())

    def _listens(self, ready: ServerReady) -> None:
        self._node.on_change(StatusChange("listens", ready.http, ready.grpc))
        rpc = f" (gRPC at {ready.grpc})" if ready.grpc else ""
        log.info("%s answers predictions at http://%s%s", self._node.name, ready.http, rpc)

    def _pulse(self, vitals: Vitals) -> None:
        self.updater.pulse(vitals)
        if vitals.tally:
            self._releases.measured(vitals)

    def _tell(self, outcome: Outcome) -> None:
        """What becomes of a release, for whoever watches this node."""
        if outcome.what in ("probation", "committed", "reverted"):
            self._node.on_change(StatusChange("serves", outcome.model, outcome.what, version=outcome.version))
        self._releases.take_outcome(outcome)


class UpstreamAdapter:
    """The way to the cloud, for updates.

    Args:
        releases: what the node has of it.
        tell: takes outcomes.
    """

    def __init__(self, releases: Releases, tell: Callable[[Outcome], None]) -> None:
        self._releases = releases
        self._tell = tell

    async def metadata(self, name: str, largest: int, anew: bool) -> bytes | None:
        """See :class:`fogline.serving.update.ports.Upstream`."""
        if name == TIMESTAMP and not anew:
            return self._releases.timestamp or None
        try:
            return await self._releases.document(name, anew)
        except LookupError as error:
            raise ConnectionError(str(error)) from error

    async def fetch(self, asset: Asset) -> Path:
        """See :class:`fogline.serving.update.ports.Upstream`."""
        return await self._releases.obtain(asset.digest, asset.size)

    def outcome(self, outcome: Outcome) -> None:
        """See :class:`fogline.serving.update.ports.Upstream`."""
        self._tell(outcome)
