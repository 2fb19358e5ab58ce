"""Models that are served: their files and the news of them go down, what became of them goes up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fogline.governance.subject import Subject
from fogline.network.node.mirror import ReleaseMirror, Releases
from fogline.network.node.services.base import Service, another
from fogline.network.transport.messages import (
    BlobSize,
    MetadataFile,
    NewerTimestamp,
    ReadMetadata,
    ReleaseNotice,
    ReleaseOutcome,
    ReleaseVitals,
    Size,
    Welcome,
)
from fogline.network.transport.ports import Call, UnreachableError
from fogline.network.transport.session import Session
from fogline.processes.messages import decoder, encode

FromChild = ReleaseOutcome | ReleaseVitals | NewerTimestamp


class ReleaseService(Service[FromChild, ReleaseNotice]):
    """Stands between a node's releases (at the root the registry, elsewhere a mirror) and its neighbours."""

    def calls(self) -> Mapping[str, Call]:
        return {"Weigh": Call(decoder(BlobSize), self._size), "Read": Call(decoder(ReadMetadata), self.read)}

    def forbidden(self, child: Subject, frame: FromChild) -> str | None:
        return another(child.name, frame.outcome.node) if isinstance(frame, ReleaseOutcome) else None

    def from_child(self, session: Session, frame: FromChild) -> None:
        releases = self.node.releases
        match frame:
            case ReleaseOutcome(outcome=outcome):
                if releases is not None:
                    releases.take_outcome(outcome)
            case ReleaseVitals(vitals=vitals):
                if releases is not None:
                    releases.measured(vitals)
            case NewerTimestamp(timestamp=timestamp):
                if isinstance(releases, ReleaseMirror):
                    releases.remember(timestamp)
                self.node.tell(frame)

    def from_parent(self, parent: str, frame: ReleaseNotice) -> None:
        self.fresh(frame.timestamp)

    def connected(self, parent: str, welcome: Welcome) -> None:
        releases = self.node.releases
        if isinstance(releases, ReleaseMirror):
            releases.connected()
            self.fresh(welcome.timestamp)
            if releases.is_ahead_of(welcome.timestamp):
                self.node.tell(NewerTimestamp(releases.witness))

    def fresh(self, timestamp: bytes) -> None:
        """There is a signed timestamp of releases: whoever serves looks what is new, and the children are told."""
        releases, serving = self.node.releases, self.node.serving
        if not isinstance(releases, ReleaseMirror) or releases.fresh(timestamp):
            self.node.say_to_all(ReleaseNotice(timestamp))
        if serving is not None and timestamp:
            serving.fresh(timestamp)

    async def obtain(self, digest: str) -> tuple[Path, int]:
        """Where a file of a published version lies, and its bytes.

        Raises:
            LookupError: it is none.
            StorageError: it cannot be kept here.
        """
        releases = self._known()
        size = await releases.weigh(digest)
        return await releases.obtain(digest, size), size

    async def recheck(self, digest: str) -> None:
        """Delete a file that is damaged here."""
        if isinstance(self.node.releases, ReleaseMirror):
            await self.node.releases.recheck(digest)

    async def _size(self, asked: BlobSize) -> bytes:
        """A child wants to know how large a file is."""
        return encode(Size(await self._known().weigh(asked.digest)))

    def _known(self) -> Releases:
        if self.node.releases is None:
            raise LookupError("no job here has that blob (any more)")
        return self.node.releases

    async def read(self, asked: ReadMetadata) -> bytes:
        """A child wants a small file of signed releases."""
        if self.node.releases is None:
            return encode(MetadataFile(None))
        try:
            return encode(MetadataFile(await self.node.releases.document(asked.name, asked.anew)))
        except LookupError as error:  # A file that is not there is an answer; this is none, so the child asks again.
            raise UnreachableError(str(error)) from error
