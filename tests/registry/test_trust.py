"""Releases are believed if the cloud and the operator signed them, whoever carried them; and never anything else."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fogline.governance.errors import SignatureError
from fogline.governance.identity.authority import Authority
from fogline.governance.signatures.signing import SigningKey
from fogline.registry.release import ReleaseError
from fogline.registry.trust import operator
from fogline.registry.trust.binding import bind_root, bound_root
from fogline.registry.trust.names import LARGEST_METADATA, LARGEST_TIMESTAMP, is_file_name
from fogline.registry.trust.offline_metadata import OfflineMetadata, read_offline_metadata
from fogline.registry.trust.releases import SignedReleases
from fogline.registry.trust.repository import KEPT
from fogline.registry.trust.results import FILE, UntrustedReleaseError, last_verified
from fogline.registry.trust.signing import MetadataError, find_key, moment, seal, unseal
from fogline.registry.trust.source import FolderSource, MissingMetadataError
from fogline.registry.trust.terms import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from fogline.registry.trust.verify import Verifier
from fogline.storage import StorageFullError, open_database
from tests.registry.fleet import BETTER, DAY, GOOD, NOW, Fleet, Mirror, release


def refused(verifier: Verifier, mirror: Any, kind: str, now: float = NOW) -> UntrustedReleaseError:
    """The refusal, after which what was believed before must still be there."""
    before = verifier.last()
    with pytest.raises(UntrustedReleaseError) as caught:
        verifier.verify(mirror, now)
    assert caught.value.kind == kind, caught.value
    assert verifier.last() == before
    return caught.value


def needed(fleet: Fleet) -> dict[str, bytes]:
    """The files that a new node reads."""
    mirror = Mirror(fleet.cloud).copy()
    fleet.verifier("honest").verify(mirror, NOW)
    return {name: mirror.files[name] for name, size in mirror.asked.items() if size}


# What is signed, and who may read the keys


def test_a_release_reaches_a_node(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    fleet.cloud.publish(release(7, "thermal"), NOW)
    fleet.approve(BETTER)
    verified = fleet.verifier().verify(Mirror(fleet.cloud).copy(), NOW)
    assert set(verified.releases) == {release(1), release(7, "thermal")}
    assert verified.approved == {"vibration": frozenset({BETTER})}
    assert verified.expires == NOW + DAY
    assert verified.targets_expires == NOW + 365 * DAY
    assert verified == fleet.verifier().last() == last_verified(fleet.folder / "node")


def test_a_node_may_want_only_its_own_models(fleet: Fleet) -> None:
    for model in ("vibration", "thermal", "acoustic"):
        fleet.cloud.publish(release(1, model), NOW)
    mirror = Mirror(fleet.cloud).copy()
    verified = fleet.verifier().verify(mirror, NOW, models={"thermal"})
    assert verified.releases == (release(1, "thermal"),)
    assert sum(len(name) > 64 for name in mirror.asked) == 1


def test_a_step_of_a_rollout_fetches_only_what_changed(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    verifier = fleet.verifier()
    verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    unchanged = Mirror(fleet.cloud).copy()
    verifier.verify(unchanged, NOW)
    assert {name for name, size in unchanged.asked.items() if size} == {"timestamp.json"}
    assert sum(unchanged.asked.values()) <= 1024
    fleet.cloud.publish(release(2), NOW)
    stepped = Mirror(fleet.cloud).copy()
    assert verifier.verify(stepped, NOW).releases == (release(2),)
    assert not any("targets" in name for name in stepped.asked)


def test_metadata_stays_small(fleet: Fleet) -> None:
    for number in range(20):
        fleet.cloud.publish(release(1, f"model-{number}"), NOW)
    sizes = {name.split(".", 1)[-1]: len(data) for name, data in Mirror(fleet.cloud).copy().files.items()}
    assert len(fleet.cloud.file("timestamp.json") or b"") <= 1024
    assert sizes["snapshot.json"] <= 1024
    assert sizes["rounds.json"] <= 20 * 200 + 500


def test_keys_are_their_owners_alone(fleet: Fleet) -> None:
    keys = [*fleet.online.glob("*.key"), *fleet.offline.glob("*.key")]
    assert len(keys) == 5
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
    (rounds,) = fleet.online.glob("rounds-*.key")
    rounds.chmod(0o640)
    with pytest.raises(SignatureError, match="chmod 600"):
        fleet.cloud.publish(release(1), NOW)
    rounds.chmod(0o600)
    fleet.cloud.publish(release(1), NOW)


def test_a_running_cloud_needs_no_offline_key(fleet: Fleet, tmp_path: Path) -> None:
    fleet.offline.rename(tmp_path / "safe")
    fleet.cloud.publish(release(1), NOW)
    later = fleet.cloud.renew(NOW)
    fleet.cloud.renew(later)
    assert fleet.verifier().verify(Mirror(fleet.cloud).copy(), later).releases == (release(1),)


def test_keys_are_not_made_twice(fleet: Fleet) -> None:
    before = fleet.cloud.offline_metadata()
    with pytest.raises(MetadataError, match="not replaced"):
        operator.create(fleet.online, fleet.offline, NOW)
    assert fleet.cloud.offline_metadata() == before


# The cloud


def test_numbers_of_releases_rise(fleet: Fleet) -> None:
    fleet.cloud.publish(release(5), NOW)
    for number in (5, 4, 0):
        with pytest.raises(ReleaseError, match="number 6"):
            fleet.cloud.publish(release(number), NOW)
    fleet.cloud.publish(release(1, "thermal"), NOW)
    assert {r.model: r.number for r in fleet.cloud.releases().values()} == {"vibration": 5, "thermal": 1}


def test_clouds_at_once_lose_no_release(fleet: Fleet) -> None:
    names = [f"model-{number}" for number in range(12)]

    def publish(model: str) -> None:
        SignedReleases(fleet.store, fleet.online).publish(release(1, model), NOW)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, names))
    verified = fleet.verifier().verify(Mirror(fleet.cloud).copy(), NOW)
    assert {one.model for one in verified.releases} == set(names)


def test_renewing_keeps_releases_believable_for_years(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    verifier, now = fleet.verifier(), NOW
    for _ in range(60):
        now = fleet.cloud.renew(now)
        fleet.cloud.renew(now)
        assert verifier.verify(Mirror(fleet.cloud).copy(), now).expires > now
    assert now > NOW + 20 * DAY
    assert fleet.cloud.renew(now) > now


def test_files_of_the_past_disappear_after_a_while(fleet: Fleet) -> None:
    for number in range(1, 31):
        fleet.cloud.publish(release(number), NOW)
    kept = Mirror(fleet.cloud).copy().files
    assert sum("rounds" in name for name in kept) == KEPT
    assert sum(len(name) > 64 for name in kept) == KEPT
    assert all(is_file_name(name) for name in kept)
    assert fleet.cloud.file("../operator/offline_metadata.json") is None


# Mirrors that lie


CUTS: tuple[Any, ...] = (
    lambda data: data[:-20],
    lambda data: data[: len(data) // 2],
    lambda data: b"",
    lambda data: b"[" * 100_000,
    lambda data: b"{}",
    lambda data: b"\xff\xfe" + data,
    lambda data: data.replace(b'"version":', b'"version":1'),
)
FORGERIES: tuple[Any, ...] = (
    lambda data: data.replace(b'"expires":"20', b'"expires":"21'),
    lambda data: data.replace(b'"sig":"', b'"sig":"00', 1),
)
METADATA = ("timestamp", "snapshot", "targets", "rounds")


@pytest.mark.parametrize(
    ("role", "how"),
    [(role, how) for role in (*METADATA, "content") for how in CUTS]
    + [(role, how) for role in METADATA for how in FORGERIES],
)
def test_tampered_and_truncated_files(fleet: Fleet, role: str, how: Any) -> None:
    fleet.cloud.publish(release(1), NOW)
    verifier = fleet.verifier()
    verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    fleet.cloud.publish(release(2), NOW)
    fleet.approve()
    mirror = Mirror(fleet.cloud).copy()
    names = [name for name in mirror.files if role in name] or [name for name in mirror.files if len(name) > 64]
    honest = dict(mirror.files)
    mirror.change(names, how)
    assert mirror.files != honest
    with pytest.raises(UntrustedReleaseError):
        verifier.verify(mirror, NOW)
    last = verifier.last()
    assert last is not None
    assert last.releases == (release(1),)
    mirror.files = honest
    assert verifier.verify(mirror, NOW).releases == (release(2),)


def test_random_damage_never_passes_and_never_breaks_the_verifier(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    fleet.approve()
    truth = fleet.verifier("honest").verify(Mirror(fleet.cloud).copy(), NOW)
    honest = Mirror(fleet.cloud).copy().files
    chance = random.Random(4)
    for turn in range(300):
        mirror = Mirror(fleet.cloud)
        mirror.files = dict(honest)
        name = chance.choice(sorted(honest))
        data = bytearray(honest[name])
        for _ in range(chance.choice((1, 1, 3, 40))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        mirror.files[name] = bytes(data)
        verifier = fleet.verifier(f"node-{turn % 3}")
        try:
            assert verifier.verify(mirror, NOW) == truth
        except UntrustedReleaseError:
            assert verifier.last() in (None, truth)


def test_an_older_state_is_refused(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    older = Mirror(fleet.cloud).copy()
    fleet.cloud.publish(release(2), NOW)
    verifier = fleet.verifier()
    verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    refused(verifier, older, "older")


def test_parts_of_two_states_do_not_mix(fleet: Fleet) -> None:
    """A mirror that shows the newest timestamp with the release of before, under the new names."""
    fleet.cloud.publish(release(1), NOW)
    older = Mirror(fleet.cloud).copy()
    fleet.cloud.publish(release(2), NOW)
    for role in ("snapshot", "rounds"):
        mixed = Mirror(fleet.cloud).copy()
        newest = max(int(name.split(".")[0]) for name in mixed.files if role in name)
        mixed.files[f"{newest}.{role}.json"] = older.files[f"{newest - 1}.{role}.json"]
        refused(fleet.verifier(role), mixed, "tampered")


def test_a_release_of_another_model_is_refused(fleet: Fleet) -> None:
    """Also where the cloud itself was made to sign it."""
    fleet.cloud.publish(release(1), NOW)
    fleet.cloud.publish(release(1, "thermal"), NOW)
    mirror = Mirror(fleet.cloud).copy()

    def exchange(targets: Targets) -> None:
        one, other = targets.targets["rounds/vibration"], targets.targets["rounds/thermal"]
        targets.targets = {"rounds/vibration": other, "rounds/thermal": one}

    forge_rounds(fleet, mirror, exchange)
    refused(fleet.verifier(), mirror, "tampered")


def test_files_without_end_are_not_read(fleet: Fleet, tmp_path: Path) -> None:
    fleet.cloud.publish(release(1), NOW)
    honest = needed(fleet)
    for name in honest:
        folder = tmp_path / f"endless-{name}"
        folder.mkdir()
        for other, data in honest.items():
            (folder / other).write_bytes(data)
        with (folder / name).open("r+b") as file:
            file.truncate(1 << 40)  # a terabyte of nothing
        source, longest = FolderSource(folder, {"2.root.json"}), [0]

        def bounded(name: str, largest: int, source: FolderSource = source, longest: list[int] = longest) -> Any:
            data = source(name, largest)
            longest.append(len(data or b""))
            return data

        refused(fleet.verifier(f"node-{name}"), bounded, "tampered")
        assert max(longest) <= LARGEST_METADATA + 1


def test_a_source_that_gives_too_much_is_refused(fleet: Fleet) -> None:
    mirror = Mirror(fleet.cloud).copy()
    mirror.files["timestamp.json"] += b" " * LARGEST_TIMESTAMP
    refused(fleet.verifier(), mirror, "tampered")


def test_withheld_files_are_named(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    for name in needed(fleet):
        mirror = Mirror(fleet.cloud).copy()
        del mirror.files[name]
        assert name in str(refused(fleet.verifier(f"node-{name}"), mirror, "unreadable"))


def test_a_frozen_mirror_is_found_out(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    frozen, verifier = Mirror(fleet.cloud).copy(), fleet.verifier()
    verified = verifier.verify(frozen, NOW)
    assert verifier.verify(frozen, NOW + DAY - 1) == verified
    error = refused(verifier, frozen, "expired", NOW + DAY)
    assert "run out" in str(error)
    last = verifier.last()
    assert last is not None
    assert last.releases == (release(1),)
    fleet.cloud.renew(NOW + DAY)
    assert verifier.verify(Mirror(fleet.cloud).copy(), NOW + DAY).expires > NOW + DAY


def test_a_new_node_takes_nothing_that_has_expired(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    refused(fleet.verifier(), Mirror(fleet.cloud).copy(), "expired", NOW + 2 * DAY)
    assert fleet.verifier().last() is None


def test_expired_keys_of_the_operator_are_told_apart_by_their_date(fleet: Fleet) -> None:
    late = NOW + 366 * DAY
    fleet.cloud.renew(late)
    verifier = fleet.verifier()
    refused(verifier, Mirror(fleet.cloud).copy(), "expired", late)
    fleet.cloud.adopt(operator.prolong(fleet.offline, fleet.cloud.offline_metadata(), late), late)
    assert verifier.verify(Mirror(fleet.cloud).copy(), late).targets_expires == late + 365 * DAY


# Keys that were stolen, and strangers' keys


def test_another_fleet_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    stranger = Fleet(tmp_path, "stranger")
    stranger.cloud.publish(release(9), NOW)
    fleet.cloud.publish(release(1), NOW)
    verifier = fleet.verifier()
    refused(verifier, Mirror(stranger.cloud).copy(), "tampered")
    verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    refused(verifier, Mirror(stranger.cloud).copy(), "tampered")
    stranger.rotate()  # now it has a 2.root.json
    refused(verifier, Mirror(stranger.cloud).copy(), "tampered")
    stranger.store.close()


def test_a_pinned_root_is_not_replaced_by_a_later_binding(fleet: Fleet, tmp_path: Path) -> None:
    stranger = Fleet(tmp_path, "stranger")
    fleet.verifier().verify(Mirror(fleet.cloud).copy(), NOW)
    refused(Verifier(fleet.folder / "node", stranger.root), Mirror(stranger.cloud).copy(), "tampered")
    stranger.store.close()


def thief(fleet: Fleet, role: Any) -> SigningKey:
    """A key of the cloud's, as a thief has it."""
    (path,) = fleet.online.glob(f"{role}-*.key")
    return SigningKey.load(path)


def forge_rounds(fleet: Fleet, mirror: Mirror, change: Any) -> None:
    """Sign changed rounds, snapshot and timestamp with all keys of the cloud."""
    version = max(int(name.split(".")[0]) for name in mirror.files if "rounds" in name) + 1
    rounds = unseal(Targets, mirror.files[f"{version - 1}.rounds.json"]).signed
    rounds.version = version
    change(rounds)
    forge(fleet, mirror, {"rounds": (version, seal(rounds, thief(fleet, "rounds")))})


def forge(fleet: Fleet, mirror: Mirror, changed: dict[str, tuple[int, bytes]], leap: int = 1) -> None:
    """Sign a snapshot that lists the changed metadata, and a timestamp that lists the snapshot."""
    before = unseal(Timestamp, mirror.files["timestamp.json"]).signed
    snapshot = unseal(Snapshot, mirror.files[f"{before.snapshot_meta.version}.snapshot.json"]).signed
    snapshot.version += leap
    for role, (version, data) in changed.items():
        snapshot.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
        mirror.files[f"{version}.{role}.json"] = data
    signed = seal(snapshot, thief(fleet, "snapshot"))
    mirror.files[f"{snapshot.version}.snapshot.json"] = signed
    before.version += leap
    before.snapshot_meta = MetaFile.from_data(snapshot.version, signed, ["sha256"])
    mirror.files["timestamp.json"] = seal(before, thief(fleet, "timestamp"))


def test_a_thief_of_all_online_keys_cannot_approve(fleet: Fleet) -> None:
    fleet.approve(GOOD)
    fleet.cloud.publish(release(1), NOW)
    body = json.dumps([{"card": BETTER, "by": "ana", "at": NOW}]).encode()
    forged = TargetFile.from_data("stable/vibration", body, ["sha256"])
    for role in ("timestamp", "snapshot", "rounds"):
        mirror = Mirror(fleet.cloud).copy()
        mirror.files[f"{forged.hashes['sha256']}.json"] = body
        newest = max(int(name.split(".")[0]) for name in mirror.files if "targets" in name)
        targets = unseal(Targets, mirror.files[f"{newest}.targets.json"]).signed
        targets.version += 1
        targets.targets["stable/vibration"] = forged
        forge(fleet, mirror, {"targets": (targets.version, seal(targets, thief(fleet, role)))})
        refused(fleet.verifier(role), mirror, "tampered")
    # Under a role that may sign it is not heard.
    mirror = Mirror(fleet.cloud).copy()
    mirror.files[f"{forged.hashes['sha256']}.json"] = body
    forge_rounds(fleet, mirror, lambda rounds: rounds.targets.update({"stable/vibration": forged}))
    assert fleet.verifier("heard").verify(mirror, NOW).approved == {"vibration": frozenset({GOOD})}


def test_a_thief_of_all_online_keys_cannot_change_the_root(fleet: Fleet) -> None:
    for role in ("timestamp", "snapshot", "rounds"):
        mirror = Mirror(fleet.cloud).copy()
        root = unseal(Root, fleet.root).signed
        root.version = 2
        root.expires = moment(NOW + 9999 * DAY)
        mirror.files["2.root.json"] = seal(root, thief(fleet, role))
        refused(fleet.verifier(role), mirror, "tampered")


def test_a_thief_cannot_lead_a_node_out_of_its_folder(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    mirror = Mirror(fleet.cloud).copy()

    def point_out(rounds: Targets) -> None:
        rounds.targets["rounds/vibration"].hashes = {"sha256": "../../operator/offline_metadata"}

    forge_rounds(fleet, mirror, point_out)
    refused(fleet.verifier(), mirror, "unreadable")
    assert not any(".." in name for name in mirror.asked)


def test_a_thief_cannot_bring_an_old_release_back(fleet: Fleet) -> None:
    """Newer metadata, all keys of the cloud, and a release that was found bad."""
    fleet.cloud.publish(release(1), NOW)
    old = json.loads(fleet.cloud.file("2.rounds.json") or b"")["signed"]["targets"]["rounds/vibration"]
    fleet.cloud.publish(release(2), NOW)
    verifier, mirror = fleet.verifier(), Mirror(fleet.cloud).copy()
    verifier.verify(mirror, NOW)
    back = TargetFile.from_dict(old, "rounds/vibration")
    forge_rounds(fleet, mirror, lambda rounds: rounds.targets.update({"rounds/vibration": back}))
    refused(verifier, mirror, "older")


def test_new_keys_undo_a_theft(fleet: Fleet) -> None:
    """The thief has counted releases and versions up to where the cloud will never come."""
    fleet.cloud.publish(release(1), NOW)
    fleet.approve()
    verifier, mirror = fleet.verifier(), Mirror(fleet.cloud).copy()
    bad = release(10**12, card="f" * 64)
    body = json.dumps(
        {"model": "vibration", "number": bad.number, "version": 1, "card": {"digest": "f" * 64, "size": 1}}
    )
    target = TargetFile.from_data("rounds/vibration", body.encode(), ["sha256"])
    mirror.files[f"{target.hashes['sha256']}.json"] = body.encode()
    rounds = Targets(10**9, expires=moment(NOW + 999 * DAY), targets={"rounds/vibration": target})
    forge(fleet, mirror, {"rounds": (10**9, seal(rounds, thief(fleet, "rounds")))}, leap=10**8)
    assert verifier.verify(mirror, NOW).releases[0].number == 10**12  # until it is found out
    refused(verifier, Mirror(fleet.cloud).copy(), "older")
    fleet.rotate()
    fleet.cloud.publish(release(2), NOW)
    verified = verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    assert verified.releases == (release(2),)
    assert verified.approved == {"vibration": frozenset({GOOD})}
    refused(verifier, mirror, "tampered")


def test_old_keys_count_no_more_after_a_rotation(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    old = {role: thief(fleet, role) for role in ("timestamp", "snapshot", "rounds")}
    fleet.rotate()
    verifier, mirror = fleet.verifier(), Mirror(fleet.cloud).copy()
    verifier.verify(mirror, NOW)
    timestamp = unseal(Timestamp, mirror.files["timestamp.json"]).signed
    timestamp.version += 1
    mirror.files["timestamp.json"] = seal(timestamp, old["timestamp"])
    refused(verifier, mirror, "tampered")


def test_keys_that_a_cloud_makes_count_once_they_are_signed(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    verifier = fleet.verifier()
    verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    signers = fleet.cloud.make_keys()
    fleet.cloud.publish(release(2), NOW)  # Still with the old ones.
    assert verifier.verify(Mirror(fleet.cloud).copy(), NOW).root == 1
    fleet.cloud.adopt(operator.rotate_online(fleet.offline, fleet.cloud.offline_metadata(), signers, NOW), NOW)
    fleet.cloud.publish(release(3), NOW)
    verified = verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    assert (verified.root, verified.releases) == (2, (release(3),))
    signed_by = unseal(Timestamp, Mirror(fleet.cloud).copy().files["timestamp.json"]).signatures
    assert set(signed_by) == {signer.fingerprint for signer in signers if signer.name == "timestamp"}


def test_no_keys_are_made_where_the_operators_are_missing(fleet: Fleet, tmp_path: Path) -> None:
    offline_metadata = fleet.cloud.offline_metadata()
    with pytest.raises(MetadataError, match="no keys for releases"):
        operator.check_keys(tmp_path / "none", offline_metadata)
    operator.check_keys(fleet.offline, offline_metadata)
    (gone,) = fleet.offline.glob("root-*.key")
    gone.unlink()
    with pytest.raises(SignatureError, match="key for root"):
        operator.check_keys(fleet.offline, offline_metadata)
    with pytest.raises(SignatureError, match="key for root"):
        operator.rotate_offline(fleet.offline, offline_metadata, NOW)
    assert list(fleet.offline.glob("root-*.key")) == []


def test_the_operators_own_keys_can_be_replaced(fleet: Fleet) -> None:
    verifier = fleet.verifier()
    verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    before = unseal(Root, fleet.root).signed
    fleet.cloud.adopt(operator.rotate_offline(fleet.offline, fleet.cloud.offline_metadata(), NOW), NOW)
    fleet.approve(BETTER)
    mirror = Mirror(fleet.cloud).copy()
    assert verifier.verify(mirror, NOW).approved == {"vibration": frozenset({BETTER})}
    newer = unseal(Root, fleet.cloud.root).signed
    newer.version += 1
    old_root = find_key(fleet.offline, "root", before.roles["root"].keyids)
    mirror.files[f"{newer.version}.root.json"] = seal(newer, old_root)
    refused(verifier, mirror, "tampered")


def test_a_node_that_was_away_for_many_rotations_comes_back(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    verifier = fleet.verifier()
    verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    for _ in range(5):
        fleet.rotate()
    fleet.cloud.publish(release(2), NOW)
    verified = verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    assert (verified.root, verified.releases) == (6, (release(2),))


# The offline metadata between the operator and the cloud


def test_the_cloud_adopts_only_the_operators_word(fleet: Fleet, tmp_path: Path) -> None:
    stranger = Fleet(tmp_path, "stranger")
    stranger.approve(BETTER)
    offline_metadata = fleet.cloud.offline_metadata()
    mixed = OfflineMetadata(
        offline_metadata.roots, stranger.cloud.offline_metadata().targets, stranger.cloud.offline_metadata().approvals
    )
    for forged in (stranger.cloud.offline_metadata(), mixed, OfflineMetadata((), offline_metadata.targets)):
        with pytest.raises(MetadataError):
            fleet.cloud.adopt(forged, NOW)
    own = operator.approve(fleet.offline, offline_metadata, "vibration", GOOD, "ana", NOW)
    body = json.dumps([{"card": BETTER, "by": "ana", "at": NOW}]).encode()
    with pytest.raises(MetadataError, match="not signed by the operator"):
        fleet.cloud.adopt(OfflineMetadata(own.roots, own.targets, {"vibration": body}), NOW)
    with pytest.raises(MetadataError, match="lacks"):
        fleet.cloud.adopt(OfflineMetadata(own.roots, own.targets, {}), NOW)
    assert fleet.cloud.offline_metadata() == offline_metadata
    stranger.store.close()


def test_the_operator_signs_nothing_for_a_cloud_that_lies(fleet: Fleet, tmp_path: Path) -> None:
    stranger = Fleet(tmp_path, "stranger")
    with pytest.raises(MetadataError, match="another fleet"):
        operator.approve(fleet.offline, stranger.cloud.offline_metadata(), "vibration", GOOD, "ana", NOW)
    # A cloud that takes a withdrawal back by showing what was before: the operator goes on from its own.
    fleet.approve(GOOD)
    before = fleet.cloud.offline_metadata()
    fleet.cloud.adopt(operator.withdraw(fleet.offline, before, "vibration", GOOD, NOW), NOW)
    after = operator.approve(fleet.offline, before, "vibration", BETTER, "ana", NOW)
    fleet.cloud.adopt(after, NOW)
    verified = fleet.verifier().verify(Mirror(fleet.cloud).copy(), NOW)
    assert verified.approved == {"vibration": frozenset({BETTER})}
    stranger.store.close()


def test_an_approval_that_got_lost_on_its_way_comes_with_the_next(fleet: Fleet) -> None:
    shown = fleet.cloud.offline_metadata()
    operator.approve(fleet.offline, shown, "vibration", GOOD, "ana", NOW)
    fleet.cloud.adopt(operator.approve(fleet.offline, shown, "vibration", BETTER, "ana", NOW), NOW)
    verified = fleet.verifier().verify(Mirror(fleet.cloud).copy(), NOW)
    assert verified.approved == {"vibration": frozenset({GOOD, BETTER})}


def test_the_release_after_a_restore_is_believed(fleet: Fleet, tmp_path: Path) -> None:
    """The cloud goes back to a backup; a node has seen two more releases and an approval since."""
    fleet.cloud.publish(release(1), NOW)
    shutil.copytree(fleet.folder / "fleet", tmp_path / "backup")
    fleet.cloud.publish(release(2), NOW)
    fleet.cloud.publish(release(3), NOW)
    fleet.approve(BETTER)
    node = fleet.verifier()
    node.verify(Mirror(fleet.cloud).copy(), NOW)
    seen = fleet.cloud.file("timestamp.json") or b""
    with open_database(tmp_path / "backup" / "cloud.db") as store:
        restored = SignedReleases(store, fleet.online)
        forged = seen.replace(b'"version": ', b'"version": 9').replace(b'"version":', b'"version":9')
        assert restored.is_later(seen)
        assert not fleet.cloud.is_later(seen)
        assert not restored.is_later(forged)
        assert not restored.is_later(b"rubbish")

        def files(name: str, _: int) -> bytes | None:
            return restored.file(name)

        restored.publish(release(2), NOW)
        with pytest.raises(UntrustedReleaseError, match="older"):
            node.verify(files, NOW)
        restored.leap(NOW + 1)
        assert not restored.is_later(seen)
        restored.publish(release(int(NOW) + 2), NOW + 2)
        with pytest.raises(UntrustedReleaseError, match="older"):
            node.verify(files, NOW + 2)  # Beside older approvals.
        offline_metadata = operator.newer(fleet.offline, restored.offline_metadata())
        assert offline_metadata is not None
        restored.adopt(offline_metadata, NOW + 3)
        verified = node.verify(files, NOW + 3)
        assert verified.releases == (release(int(NOW) + 2),)
        assert verified.approved == {"vibration": frozenset({BETTER})}
        assert operator.newer(fleet.offline, restored.offline_metadata()) is None
        assert operator.newer(tmp_path / "nothing", restored.offline_metadata()) is None


def test_an_older_offline_metadata_is_not_adopted(fleet: Fleet) -> None:
    first = fleet.cloud.offline_metadata()
    fleet.approve()
    newest = fleet.cloud.offline_metadata()
    with pytest.raises(MetadataError, match="not newer"):
        fleet.cloud.adopt(first, NOW)
    timestamp = fleet.cloud.file("timestamp.json")
    fleet.cloud.adopt(read_offline_metadata(newest.encoded()), NOW)  # the same again, as after a lost answer
    assert fleet.cloud.file("timestamp.json") == timestamp


def test_what_is_no_card_is_not_approved(fleet: Fleet) -> None:
    for model, card in (("vibration", "12"), ("../x", GOOD), ("vibration", GOOD.upper() + "G")):
        with pytest.raises(MetadataError, match="cannot be signed"):
            operator.approve(fleet.offline, None, model, card, "ana", NOW)
    with pytest.raises(MetadataError, match="nothing to withdraw"):
        operator.withdraw(fleet.offline, None, "vibration", GOOD, NOW)


# The first root


def test_the_first_root_comes_through_a_fog(fleet: Fleet, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "authority")
    other = Authority.create(tmp_path / "other")
    envelope = bind_root(authority, fleet.cloud.root)
    assert bound_root(envelope, authority.root_pem) == fleet.root
    for bad in (bind_root(other, fleet.root), envelope[:-9], b"", envelope.replace(b"release-root", b"revocations!")):
        with pytest.raises(MetadataError, match="first root"):
            bound_root(bad, authority.root_pem)


# What was fetched so far


def test_a_folder_of_fetched_files_tells_what_is_missing(fleet: Fleet, tmp_path: Path) -> None:
    fleet.cloud.publish(release(1), NOW)
    fleet.approve()
    folder, absent, fetched = tmp_path / "fetched", set[str](), list[str]()
    folder.mkdir()
    verifier = fleet.verifier()
    while True:
        try:
            verified = verifier.verify(FolderSource(folder, absent), NOW)
            break
        except MissingMetadataError as missing:
            fetched.append(missing.name)
            data = fleet.cloud.file(missing.name)
            if data is None:
                absent.add(missing.name)
            else:
                (folder / missing.name).write_bytes(data[: missing.largest])
    assert verified.releases == (release(1),)
    assert len(fetched) == len(set(fetched)) == 7
    assert absent == {"2.root.json"}


# Power cuts and broken disks

WRITING = ("registry/trust/results.py", "registry/trust/verify.py", "storage/atomic.py", "storage/files.py")


def killed_at(line: int, verifier: Verifier, mirror: Mirror) -> bool:
    """Verify in a process of its own that is killed (-9) before it runs that line of what writes; whether it was."""
    child = os.fork()
    if child == 0:
        left = iter(range(line))

        def trace(frame: Any, event: str, _: Any) -> Any:
            if not frame.f_code.co_filename.endswith(WRITING):
                return None
            if event == "line" and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        verifier.verify(mirror, NOW)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_a_power_cut_at_any_moment_leaves_a_folder_of_use(fleet: Fleet) -> None:
    """Whatever line the process is killed at, the state is the one before or the one after, and it goes on."""
    fleet.cloud.publish(release(1), NOW)
    first = Mirror(fleet.cloud).copy()
    fleet.rotate()
    fleet.cloud.publish(release(2), NOW)
    second = Mirror(fleet.cloud).copy()
    verifier, line, seen = fleet.verifier(), 0, set[int]()
    before = verifier.verify(first, NOW)
    kept = (fleet.folder / "node" / FILE).read_bytes()
    while killed_at(line, verifier, second):
        left = verifier.last()
        assert left is not None
        seen.add(left.releases[0].number)
        assert left == before or left.releases == (release(2),)
        assert verifier.verify(second, NOW).releases == (release(2),)
        assert [path.name for path in (fleet.folder / "node").iterdir()] == [FILE]
        (fleet.folder / "node" / FILE).write_bytes(kept)
        line += 1
    assert line > 50
    assert seen == {1, 2}


def test_a_full_disk_is_said_and_changes_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.cloud.publish(release(1), NOW)
    verifier = fleet.verifier()
    before = verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    fleet.cloud.publish(release(2), NOW)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fogline.storage.files.os.fsync", full)
        with pytest.raises(StorageFullError, match="free some space"):
            verifier.verify(Mirror(fleet.cloud).copy(), NOW)
    assert verifier.last() == before
    assert verifier.verify(Mirror(fleet.cloud).copy(), NOW).releases == (release(2),)


def test_a_damaged_file_begins_anew_from_the_first_root(fleet: Fleet) -> None:
    fleet.cloud.publish(release(1), NOW)
    fleet.rotate()
    verifier, mirror = fleet.verifier(), Mirror(fleet.cloud).copy()
    verified = verifier.verify(mirror, NOW)
    for damage in (b"", b"\xc1\xff", (fleet.folder / "node" / FILE).read_bytes()[:-100]):
        (fleet.folder / "node" / FILE).write_bytes(damage)
        assert verifier.last() is None
        assert verifier.verify(mirror, NOW) == verified
