"""A cloud that signs releases, its operator, and mirrors that tell the truth or lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from fogline.inference.card import Asset
from fogline.registry.release import Release
from fogline.registry.trust import operator
from fogline.registry.trust.releases import SignedReleases
from fogline.registry.trust.verify import Verifier
from fogline.storage import Database, open_database

NOW = 1_800_000_000.0
DAY = 86400.0
GOOD, BETTER = "1" * 64, "2" * 64


def release(number: int, model: str = "vibration", card: str = GOOD, version: int = 1) -> Release:
    return Release(model=model, number=number, version=version, card=Asset(card, 900), salt=f"{model}/{version}")


class Fleet:
    """The cloud and its operator, in one folder."""

    def __init__(self, folder: Path, name: str = "fleet") -> None:
        self.folder = folder
        self.online, self.offline = folder / name / "cloud", folder / name / "operator"
        self.root = operator.create(self.online, self.offline, NOW)
        self.store: Database = open_database(folder / name / "cloud.db")
        self.cloud = SignedReleases(self.store, self.online)
        self.cloud.renew(NOW)

    def verifier(self, name: str = "node") -> Verifier:
        return Verifier(self.folder / name, self.root)

    def approve(self, card: str = GOOD, model: str = "vibration", now: float = NOW) -> None:
        self.cloud.adopt(operator.approve(self.offline, self.cloud.offline_metadata(), model, card, "ana", now), now)

    def rotate(self, now: float = NOW) -> None:
        keys = operator.make_online_keys(self.online)
        self.cloud.adopt(operator.rotate_online(self.offline, self.cloud.offline_metadata(), keys, now), now)


class Mirror:
    """Serves what it has seen of a cloud. ``files`` may be changed at will; names asked for are in ``asked``."""

    def __init__(self, cloud: SignedReleases) -> None:
        self.cloud = cloud
        self.files: dict[str, bytes] = {}
        self.asked: dict[str, int] = {}

    def copy(self) -> Mirror:
        """Take all there is at the moment."""
        names = ["timestamp.json", *(f"{n}.{role}.json" for n in range(1, 40) for role in ROLES)]
        for name in names:
            if (data := self.cloud.file(name)) is not None:
                self.files[name] = data
        for data in [data for name, data in self.files.items() if "targets" in name or "rounds" in name]:
            for target in json.loads(data)["signed"]["targets"].values():
                name = f"{target['hashes']['sha256']}.json"
                if (content := self.cloud.file(name)) is not None:
                    self.files[name] = content
        return self

    def __call__(self, name: str, largest: int) -> bytes | None:
        data = self.files.get(name)
        self.asked[name] = len(data) if data is not None else 0
        return data

    def change(self, names: Iterable[str], how: Callable[[bytes], bytes]) -> None:
        for name in names:
            self.files[name] = how(self.files[name])


ROLES = ("root", "targets", "rounds", "snapshot")
