"""What nodes talk about: every frame is somebody's, and a new subject needs no more than itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Never

import pytest

from fogline.governance.identity.credentials import CertificateFacts
from fogline.governance.policy.offers import Offers
from fogline.governance.subject import Role, Subject
from fogline.network.node import node as module
from fogline.network.node.context import SiteSettings
from fogline.network.node.node import SERVICES, Node
from fogline.network.node.services.base import Service, another
from fogline.network.node.site.admission import AdmissionControl
from fogline.network.node.values import ValueStore
from fogline.network.transport import messages
from fogline.network.transport.messages import DownFrame, News, Present, UpFrame
from fogline.network.transport.session import Session
from fogline.storage import open_blobs, open_database


@pytest.mark.parametrize(("kind", "side"), [(UpFrame, "up"), (DownFrame, "down")])
def test_every_frame_of_the_contract_is_taken_by_one_service(kind: type, side: str) -> None:
    frames = {
        found
        for found in vars(messages).values()
        if isinstance(found, type) and issubclass(found, kind) and found not in (UpFrame, DownFrame, News)
    }
    taken = Counter(frame for service in SERVICES for frame in getattr(service, side))
    assert taken == Counter(frames)


class Tide(UpFrame, frozen=True):
    """How high the water stands at a node."""

    name: str
    metres: float


class TideService(Service[Tide, Never]):
    """A subject of its own."""

    def forbidden(self, child: Subject, frame: Tide) -> str | None:
        return another(child.name, frame.name)

    def from_child(self, session: Session, frame: Tide) -> None:
        HEARD.append((session.name, frame.metres))


HEARD: list[tuple[str, float]] = []


def session_of(name: str, role: Role) -> Session:
    return Session(CertificateFacts(Subject(name, role), "serial", 0.0, 1.0, ""), Present(messages.PROTOCOL))


def test_a_new_subject_is_a_file_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERVICES", (*SERVICES, TideService))
    HEARD.clear()
    with open_database(tmp_path / "records.sqlite") as database:
        blobs = open_blobs(tmp_path / "blobs", reserve=0)
        store = ValueStore(blobs, blobs, tmp_path / "drafts", [])
        policy = tmp_path / "policy.toml"
        admission = AdmissionControl(b"", policy, Offers(cpus=1, memory_bytes=0), tmp_path / "code", database)
        node = Node(Subject("fog", "fog"), database, store, tmp_path, admission, SiteSettings())
        device, fog = session_of("client-0", "device"), session_of("fog-2", "fog")
        node.from_child(device, Tide("client-0", 1.5))
        node.from_child(fog, Tide("client-9", 2.5))  # An aggregator speaks for those below it.
        assert HEARD == [("client-0", 1.5), ("fog-2", 2.5)]
        assert not device.gone.is_set()
        node.from_child(device, Tide("client-1", 9.0))
    assert (len(HEARD), device.gone.is_set()) == (2, True)
    assert device.why == "client-0 told of client-1, which is another node"
