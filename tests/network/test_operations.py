"""A fleet of real processes is backed up, restored, moved and upgraded, and trains on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.cli import main
from fogline.governance.identity.identity import Identity
from fogline.network.cloud.client import connect
from fogline.network.node.backups import image
from fogline.network.node.backups.backup import back_up, restore
from fogline.network.node.process import NodeFolder
from tests.network.cluster import job
from tests.network.processes import Fleet, fleet, free_port
from tests.patience import PATIENCE


async def train(made: Fleet, devices: int, fogs: int = 1) -> str:
    """A job of two rounds, in which all devices are; its id."""
    record = await made.submit(job(rounds=2, fogs=fogs, clients=devices))
    ended = await made.finish(record)
    assert (ended.state, ended.why) == ("finished", "")
    rows = [line.row for line in await made.lines(record) if line.row is not None]
    assert [row["devices"] for row in rows] == [devices, devices]
    return record.job


async def names(made: Fleet) -> list[str]:
    """Jobs that the cloud knows."""
    assert made.client is not None
    return [record.job for record in await made.client.jobs()]


def put_back(made: Fleet, name: str, file: Path) -> None:
    """A node's disk is lost; its folder comes back from a backup, at another place."""
    folder = Path(made.specs[name]["folder"])
    folder.rename(folder.with_name(f"{name}-lost"))
    restore(file, folder.with_name(f"{name}-restored"))
    made.specs[name]["folder"] = str(folder.with_name(f"{name}-restored"))


@pytest.mark.slow
def test_a_cloud_and_a_fog_go_on_from_their_backups_in_new_folders(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, fogs=1, devices=2) as made:
            first = await train(made, devices=2)
            for name in ("fog", "cloud"):
                made.stop(name)
                manifest = back_up(tmp_path / name, tmp_path / f"{name}.tar")
                assert (manifest.node, manifest.role) == (name, name)
                made.start(name)
            model = made.model(await known(made, first)).vector.tobytes()
            lost = await train(made, devices=2)
            for name in ("fog", "cloud"):
                made.kill(name)
                put_back(made, name, tmp_path / f"{name}.tar")
            # The developer's key was in the cloud's folder, and so in the backup.
            (tmp_path / "cloud").symlink_to(tmp_path / "cloud-restored")
            for name in ("cloud", "fog"):
                made.start(name)
            later = await train(made, devices=2)
            assert await names(made) == [first, later]
            assert lost not in (first, later)
            assert made.model(await known(made, first)).vector.tobytes() == model

    asyncio.run(play())


@pytest.mark.slow
def test_nodes_are_backed_up_while_a_job_runs_and_it_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "STILL", 60.0)  # However slow this machine is.

    async def play() -> None:
        async with fleet(tmp_path, fogs=1, devices=2) as made:
            record = await made.submit(job(rounds=9, fogs=1, clients=2, task="slow = 0.02"))
            for rounds in (1, 3, 5):
                await made.rounds(record, rounds)
                for name in ("client-0", "fog", "cloud"):  # Whoever is above may know more, never less.
                    file = tmp_path / f"{name}-{rounds}.tar"
                    assert await asyncio.to_thread(back_up, tmp_path / name, file)
                    fits_together(file, tmp_path / f"{name}-{rounds}")
            for name in ("fog", "cloud"):
                made.kill(name)
                put_back(made, name, tmp_path / f"{name}-5.tar")
            (tmp_path / "cloud").symlink_to(tmp_path / "cloud-restored")
            for name in ("cloud", "fog"):
                made.start(name)
            ended = await made.finish(record)
            assert (ended.state, ended.done, ended.why) == ("finished", 9, "")
            rows = [line.row for line in await made.lines(record) if line.row is not None]
            assert [row["round"] for row in rows] == list(range(1, 10))
            assert made.model(ended).vector.size > 0

    asyncio.run(play())


def fits_together(file: Path, folder: Path) -> None:
    """What is restored opens: its identity, its records with all that they name, its audit log."""
    manifest = restore(file, folder)
    place = NodeFolder(folder)
    with place.open_database() as database:
        blobs = place.open_value_store(database).blobs
        named = [value for job_id in database.streams() for value in database.values(job_id).values()]
        for value in named:
            if not value.data:
                blobs.verify(value.digest)
        assert "audit log" in database.streams()
    log = folder / "log.audit"
    main(["audit", "export", str(folder), "--to", str(log)])
    main(["audit", "verify", str(log), "--root", str(folder / "identity" / "root.pem")])
    assert Identity.load(folder / "identity").subject.name == manifest.node


async def known(made: Fleet, job_id: str) -> object:
    async with asyncio.timeout(PATIENCE):
        while (record := await made.record(job_id)) is None:
            await asyncio.sleep(0.05)
    return record


@pytest.mark.slow
def test_nodes_follow_a_cloud_to_another_address_and_know_it_after_a_restart(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, fogs=1, devices=2) as made:
            await train(made, devices=2)
            assert made.client is not None
            old, new = made.specs["cloud"]["listen"], f"127.0.0.1:{free_port()}"
            said = await made.client.move(new)
            assert said.startswith(f"cloud will be at {new}. Told: fog;")
            await made.logged("fog", f"fog will find cloud at {new}")
            made.stop("cloud")
            made.specs["cloud"]["listen"] = new
            made.start("cloud")
            async with connect(tmp_path / "cloud" / "operator" / "identity", "cloud", new) as made.client:
                await train(made, devices=2)
                made.stop("fog")
                (tmp_path / "fog.log").write_text("")
                made.start("fog")  # It is told where the cloud was when it joined, as its file says.
                assert made.specs["fog"]["parent_addresses"] == [("cloud", old)]
                await train(made, devices=2)
                assert "cannot be reached" not in made.log("fog")

    asyncio.run(play())


@pytest.mark.slow
def test_a_parent_takes_children_that_are_one_version_older(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, fogs=0, devices=3) as made:
            for name, version in (("client-0", 4), ("client-1", 3), ("client-2", 6)):
                made.kill(name)
                made.start(name, protocol=version)
            for name, version in (("client-1", 3), ("client-2", 6)):
                await made.logged(name, f"takes versions 4 to 5 of the protocol, not {version}")
                made.stop(name)
            await train(made, devices=1, fogs=0)
            assert made.client is not None
            said = await made.client.move(f"127.0.0.1:{free_port()}")
            assert said.endswith("To be told on their own machines (they speak an older version): client-0.")
            await train(made, devices=1, fogs=0)
            assert "no frame" not in made.log("client-0")
            made.stop("client-0")
            made.start("client-0")  # Upgraded.
            await made.logged("client-0", "client-0 will find cloud at")

    asyncio.run(play())
