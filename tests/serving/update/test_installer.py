"""The installer's processes, with real metadata, real differences and real models."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from fogline.codecs.deltas import encode
from fogline.governance.identity.authority import Authority
from fogline.inference.card import Asset, Card, Code, Dense, Tensor, WeightsDelta
from fogline.params import Entry, Params, Spec, load, save, save_arrays
from fogline.registry.release import Release
from fogline.registry.trust import operator
from fogline.registry.trust.binding import BINDING, bind_root
from fogline.registry.trust.releases import SignedReleases
from fogline.serving.update.installing.installer import ProcessInstaller
from fogline.serving.update.ports import DamagedFileError, UnfitModelError, UntrustedMetadataError
from fogline.storage import StorageError, open_database
from tests.serving.update.updating import RULES, Edge, Parent, looped

SPEC = Spec.of([Entry("w", (3, 4), "float32"), Entry("b", (3,), "float32")])
X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)


def stored(path: Path) -> Asset:
    data = path.read_bytes()
    return Asset(hashlib.sha256(data).hexdigest(), len(data))


def some_params(seed: int) -> Params:
    return Params(SPEC, np.random.default_rng(seed).normal(size=SPEC.floats).astype(np.float32), np.zeros(0, np.int64))


class Package:
    """A real version: plain layers, with golden samples."""

    def __init__(self, folder: Path, params: Params, version: int = 1, golden: np.ndarray | None = None) -> None:
        folder.mkdir(exist_ok=True)
        weights, samples = folder / f"weights-{version}", folder / f"golden-{version}"
        save(weights, params)
        y = X @ params.view("w").T + params.view("b")
        save_arrays(samples, {"input/x": X, "output/y": y if golden is None else golden})
        self.card = Card(
            model="plain",
            version=version,
            created=0.0,
            inputs=(Tensor("x", "FP32", (-1, 4)),),
            outputs=(Tensor("y", "FP32", (-1, 3)),),
            weights=stored(weights),
            dense=(Dense("w", "b"),),
            golden=stored(samples),
        )
        self.paths = {stored(weights).digest: weights, stored(samples).digest: samples}
        self.weights = weights


@pytest.fixture
def installer(tmp_path: Path) -> ProcessInstaller:
    return ProcessInstaller(tmp_path / "installer", b"", seconds=30.0)


async def trial(installer: ProcessInstaller, package: Package) -> None:
    await installer.trial(package.card.encoded(), package.paths)


# Trials


@looped
async def test_a_version_passes_its_trial(installer: ProcessInstaller, tmp_path: Path) -> None:
    await trial(installer, Package(tmp_path / "v", some_params(1)))


@looped
async def test_wrong_answers_and_numbers_that_are_none_fail(installer: ProcessInstaller, tmp_path: Path) -> None:
    with pytest.raises(UnfitModelError, match="differs"):
        await trial(installer, Package(tmp_path / "a", some_params(1), golden=np.ones((5, 3), np.float32)))
    broken = some_params(1)
    broken.vector[3] = np.nan
    with pytest.raises(UnfitModelError):
        await trial(installer, Package(tmp_path / "b", broken))


@looped
async def test_damaged_and_missing_files_are_named(installer: ProcessInstaller, tmp_path: Path) -> None:
    package = Package(tmp_path / "v", some_params(1))
    package.weights.write_bytes(package.weights.read_bytes()[:-1])
    with pytest.raises(DamagedFileError) as caught:
        await trial(installer, package)
    assert package.card.weights is not None
    assert caught.value.digests == (package.card.weights.digest,)
    package.weights.unlink()
    with pytest.raises(DamagedFileError):
        await trial(installer, package)


@looped
async def test_a_card_that_is_none_fails(installer: ProcessInstaller) -> None:
    with pytest.raises(UnfitModelError, match="card cannot be read"):
        await installer.trial(b"{}", {})


FOREIGN = {
    "aborts": ("import os\nos.abort()\n", "SIGABRT"),
    "exits": ("import os\nos._exit(0)\n", "status 0"),
    "hangs": ("while True:\n    pass\n", "longer than"),
    "forges": (
        "import os, socket, sys\nsocket.socket(fileno=int(sys.argv[1])).sendall(b'\\xff' * 64)\nos._exit(0)\n",
        "no answer",
    ),
    "eats": ("hoard = bytearray(1 << 33)\n", "MemoryError"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FOREIGN)
@looped
async def test_foreign_code_ends_its_own_process_only(tmp_path: Path, how: str) -> None:
    text, reason = FOREIGN[how]
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"{how}_task.py").write_text(text)
    installer = ProcessInstaller(
        tmp_path / "installer", b"", memory=3 << 30, seconds=10.0 if how == "hangs" else 60.0, code=tmp_path / "code"
    )
    package = Package(tmp_path / "v", some_params(1))
    package.card = replace(package.card, dense=(), code=Code(f"{how}_task:task"))
    with pytest.raises(UnfitModelError, match=reason):
        await trial(installer, package)
    await trial(installer, Package(tmp_path / "w", some_params(2)))


@looped
async def test_a_process_ends_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    installer = ProcessInstaller(tmp_path / "installer", b"")
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    waiting = asyncio.Event()

    async def ask(_: str, __: int) -> bytes | None:
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(installer.verify(ask))
    await waiting.wait()
    assert set(children.read_text().split()) > before
    task.cancel()
    await asyncio.wait((task,))
    assert set(children.read_text().split()) == before


# Differences


@looped
async def test_a_difference_gives_the_file_that_the_card_names(installer: ProcessInstaller, tmp_path: Path) -> None:
    old, new = Package(tmp_path / "v", some_params(1)), Package(tmp_path / "v", some_params(2), 2)
    assert new.card.weights is not None
    delta, out = tmp_path / "delta", tmp_path / "out"
    delta.write_bytes(encode("lossless", load(old.weights), load(new.weights)).payload)
    await installer.reconstruct(old.weights, delta, "lossless", new.card.weights, out)
    assert stored(out) == new.card.weights

    for how in ("cut", "changed", "other base", "other codec", "other target"):
        payload = delta.read_bytes()
        wrong = tmp_path / how
        wrong.write_bytes(
            payload[:-5] if how == "cut" else payload[:-9] + b"\0" + payload[-8:] if how == "changed" else payload
        )
        base = new.weights if how == "other base" else old.weights
        expected = Asset("0" * 64, 1) if how == "other target" else new.card.weights
        (target := tmp_path / f"{how} out").unlink(missing_ok=True)
        with pytest.raises(UnfitModelError):
            await installer.reconstruct(base, wrong, "int8" if how == "other codec" else "lossless", expected, target)
        assert not target.exists()


@looped
async def test_a_folder_that_cannot_be_written_is_the_disks_fault(installer: ProcessInstaller, tmp_path: Path) -> None:
    old, new = Package(tmp_path / "v", some_params(1)), Package(tmp_path / "v", some_params(2), 2)
    assert new.card.weights is not None
    delta = tmp_path / "delta"
    delta.write_bytes(encode("lossless", load(old.weights), load(new.weights)).payload)
    with pytest.raises(StorageError):
        await installer.reconstruct(old.weights, delta, "lossless", new.card.weights, tmp_path / "nowhere" / "out")


# Metadata


class Cloud:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "authority")
        self.binding = bind_root(self.authority, operator.create(folder / "online", folder / "offline"))
        self.store = open_database(folder / "cloud.db")
        self.signed = SignedReleases(self.store, folder / "online")
        self.asked: list[str] = []
        self.wrong: dict[str, Callable[[bytes], bytes | None]] = {}

    def release(self, number: int) -> None:
        card = Asset(f"{number:064x}", 100)
        self.signed.publish(Release(model="plain", number=number, version=number, card=card))

    async def ask(self, name: str, largest: int) -> bytes | None:
        self.asked.append(name)
        data = self.binding if name == BINDING else self.signed.file(name)
        for part, change in self.wrong.items():
            if part in name and data is not None:
                return change(data)
        return data

    def installer(self) -> ProcessInstaller:
        return ProcessInstaller(self.folder / "node", self.authority.root_pem)


@pytest.mark.slow
@looped
async def test_signed_releases_are_verified_and_a_fog_that_lies_is_not_believed(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    installer = cloud.installer()
    cloud.release(1)
    checked = await installer.verify(cloud.ask)
    assert [release.number for release in checked.releases] == [1]
    assert checked.epoch == 1
    assert checked.expires > time.time()
    old = {name: cloud.signed.file(name) for name in cloud.asked if name != BINDING}
    cloud.asked.clear()
    await installer.verify(cloud.ask)
    assert cloud.asked == ["2.root.json", "timestamp.json"]

    cloud.release(2)
    for part in ("timestamp", "snapshot", "rounds"):
        cloud.wrong = {part: lambda data: data.replace(b'"version"', b'"Version"')}
        with pytest.raises(UntrustedMetadataError):
            await installer.verify(cloud.ask)
        cloud.wrong = {part: lambda data: data[: len(data) // 2]}
        with pytest.raises(UntrustedMetadataError):
            await installer.verify(cloud.ask)
        cloud.wrong = {part: lambda _: None}
        with pytest.raises(UntrustedMetadataError):
            await installer.verify(cloud.ask)
    cloud.wrong.clear()
    assert (await installer.verify(cloud.ask)).releases[0].number == 2

    async def ask_old(name: str, _: int) -> bytes | None:
        return old.get(name)

    with pytest.raises(UntrustedMetadataError) as caught:
        await installer.verify(ask_old)
    assert caught.value.kind == "older"
    cloud.store.close()


@looped
async def test_a_line_that_breaks_in_the_middle_is_no_verdict(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.release(1)

    def broken(at: int) -> Callable[[str, int], Awaitable[bytes | None]]:
        count = 0

        async def ask(name: str, largest: int) -> bytes | None:
            nonlocal count
            count += 1
            if count == at:
                raise ConnectionResetError("the line broke")
            return await cloud.ask(name, largest)

        return ask

    installer = cloud.installer()
    for at in range(1, 5):
        with pytest.raises(ConnectionResetError):
            await installer.verify(broken(at))
    assert (await installer.verify(cloud.ask)).releases[0].number == 1
    cloud.store.close()


@looped
async def test_a_root_of_another_fleet_is_not_believed(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.release(1)
    other = Authority.create(tmp_path / "other")
    installer = ProcessInstaller(tmp_path / "node", other.root_pem)
    with pytest.raises(UntrustedMetadataError):
        await installer.verify(cloud.ask)
    cloud.store.close()


# All together


class Whole(Parent):
    """A parent with signed releases of real versions."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.cloud = cloud

    def publish(self, number: int, package: Package, base: Package | None = None) -> None:
        card = package.card
        if base is not None:
            assert base.card.weights is not None
            payload = encode("lossless", load(base.weights), load(package.weights)).payload
            card = replace(card, deltas=(WeightsDelta("lossless", base.card.weights.digest, self.add(payload)),))
        for path in package.paths.values():
            self.add(path.read_bytes())
        asset = self.add(card.encoded())
        self.cloud.signed.publish(
            Release(model="plain", number=number, version=card.version, card=asset, probation=RULES)
        )

    @property
    def timestamp(self) -> bytes:
        return self.cloud.signed.file("timestamp.json") or b""

    async def document(self, name: str, largest: int) -> bytes | None:
        return await self.cloud.ask(name, largest)


@pytest.mark.slow
@looped
async def test_from_signed_releases_to_served_versions(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    parent = Whole(cloud)
    v1, v2 = (Package(tmp_path / "v", some_params(n), n) for n in (1, 2))
    v3 = Package(tmp_path / "v", some_params(3), 3, golden=np.zeros((5, 3), np.float32))
    async with Edge(tmp_path / "node", parent, installer=cloud.installer(), model="plain") as edge:
        parent.publish(1, v1)
        edge.fresh()
        await edge.until(lambda edge: edge.committed == 1 and edge.idle)
        parent.publish(2, v2, base=v1)
        edge.fresh()
        await edge.until(lambda edge: edge.committed == 2 and edge.idle)
        assert v2.card.weights not in parent.fetched
        parent.publish(3, v3, base=v2)
        edge.fresh()
        await edge.until(lambda edge: edge.state.refuses(3) and edge.idle)
        assert "differs" in edge.records[-1].why
        assert edge.server.loaded == {2: "live"}
        edge.check_disk()
        cloud.wrong = {"timestamp": lambda data: data[: len(data) // 2]}
        edge.updater.fresh(b"")
        await edge.until(lambda edge: edge.records[-1].what == "alarm")
        assert edge.server.loaded == {2: "live"}
    cloud.store.close()
