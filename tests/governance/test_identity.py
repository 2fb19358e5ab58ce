"""A node's identity: what is installed, what is refused, and what a crash leaves behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fogline.governance.errors import ExpiredIdentityError, IdentityError, NoIdentityError
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity
from fogline.governance.subject import Subject
from tests.governance.conftest import NOW, Join

SUBJECT = Subject("press-7", "device")


class Crash(BaseException):
    """The power is gone."""


def test_a_node_joins_and_loads(authority: Authority, tmp_path: Path) -> None:
    key = Identity.create_key(tmp_path / "node")
    certificate = authority.issue(key.csr(), SUBJECT, 30, NOW)
    made = key.install(certificate, authority.root_pem, SUBJECT, NOW)
    found = Identity.load(tmp_path / "node", NOW + 86400)
    assert found == made
    assert found.subject == SUBJECT
    assert found.root == authority.root_pem
    assert NOW + 19 * 86400 < found.renew_at < NOW + 21 * 86400 < found.expires
    assert sorted(path.name for path in (tmp_path / "node").iterdir()) == ["certificate.pem", "key.pem", "root.pem"]


def test_keys_are_private_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    opened = os.open

    def watch(path: Any, flags: int, mode: int = 0o777) -> int:
        descriptor = opened(path, flags, mode)
        if flags & os.O_CREAT:
            modes.append(os.fstat(descriptor).st_mode & 0o777)
        return descriptor

    monkeypatch.setattr(os, "open", watch)
    Identity.create_key(tmp_path / "node")
    assert modes == [0o600]
    assert (tmp_path / "node").stat().st_mode & 0o777 == 0o700


def test_a_waiting_key_is_kept_for_the_next_try(tmp_path: Path) -> None:
    assert Identity.create_key(tmp_path).key_hash == Identity.create_key(tmp_path).key_hash


def test_no_identity_says_how_to_join(tmp_path: Path) -> None:
    with pytest.raises(NoIdentityError, match=r"no identity in .*; run: fogline join"):
        Identity.load(tmp_path)
    Identity.create_key(tmp_path)
    with pytest.raises(NoIdentityError):
        Identity.load(tmp_path)


def test_an_expired_identity_says_when(authority: Authority, join: Join) -> None:
    node = join(authority, "press-7", "device", days=1)
    with pytest.raises(ExpiredIdentityError, match=r"expired on 2027-01-16 08:00 UTC; join again"):
        Identity.load(node.folder, NOW + 86400)


def test_foreign_certificates_are_not_installed(authority: Authority, other: Authority, tmp_path: Path) -> None:
    key, stranger = Identity.create_key(tmp_path / "a"), Identity.create_key(tmp_path / "b")
    mine = authority.issue(key.csr(), SUBJECT, 30, NOW)
    wrong = [
        (authority.issue(stranger.csr(), SUBJECT, 30, NOW), authority.root_pem, NOW, "another key"),
        (other.issue(key.csr(), SUBJECT, 30, NOW), authority.root_pem, NOW, "not signed by this authority"),
        (mine, other.root_pem, NOW, "not signed by this authority"),
        (mine, authority.root_pem, NOW + 30 * 86400, "expired"),
        (authority.issue(key.csr(), Subject("cloud", "cloud"), 30, NOW), authority.root_pem, NOW, "fogline://cloud"),
        (b"rubbish", authority.root_pem, NOW, "cannot be read"),
        (mine, b"rubbish", NOW, "cannot be read"),
    ]
    for certificate, root, now, sentence in wrong:
        with pytest.raises(IdentityError, match=sentence):
            key.install(certificate, root, SUBJECT, now)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["key.next.pem"]


def test_a_key_that_was_replaced_meanwhile_is_not_installed(authority: Authority, tmp_path: Path) -> None:
    first = Identity.create_key(tmp_path)
    (tmp_path / "key.next.pem").unlink()
    Identity.create_key(tmp_path)
    with pytest.raises(IdentityError, match="Another key"):
        first.install(authority.issue(first.csr(), SUBJECT, 30, NOW), authority.root_pem, now=NOW)


def test_damaged_and_open_files_are_refused(authority: Authority, join: Join) -> None:
    node = join(authority, "press-7", "device")
    (node.folder / "key.pem").chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        Identity.load(node.folder, NOW)
    (node.folder / "key.pem").chmod(0o600)
    stranger = join(authority, "press-8", "device")
    (node.folder / "key.pem").write_bytes(stranger.key)
    with pytest.raises(IdentityError, match="does not belong"):
        Identity.load(node.folder, NOW)
    (node.folder / "key.pem").write_bytes(b"rubbish")
    with pytest.raises(IdentityError, match="damaged"):
        Identity.load(node.folder, NOW)


def test_no_key_in_what_is_shown(authority: Authority, join: Join) -> None:
    node = join(authority, "press-7", "device")
    shown = repr(node) + repr(Identity.create_key(node.folder)) + repr(authority)
    assert "PRIVATE" not in shown
    assert node.key.splitlines()[1].decode() not in shown


STEPS = ("open", "fsync", "replace", "unlink")


def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Let the process die at its n-th call of the system; afterwards no call works any more."""
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > at:
                raise Crash
            return real(*args, **named)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    return lambda: calls


def load_with_crashes(folder: Path) -> None:
    """Open the folder again and again; each time the power goes one step later."""
    for at in range(12):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Crash):
            crashing(patch, at)
            Identity.load(folder, NOW)


@pytest.mark.parametrize(("new_root", "key_first"), [(False, False), (True, False), (False, True)])
def test_a_crash_at_any_step_of_a_renewal_leaves_a_pair_that_works(
    authority: Authority, other: Authority, join: Join, new_root: bool, key_first: bool
) -> None:
    by = other if new_root else authority
    outcomes: set[str] = set()
    for at in range(100):
        node = join(authority, f"press-{at}", "device")
        with pytest.MonkeyPatch.context() as patch:
            calls = crashing(patch, at)
            try:
                key = Identity.create_key(node.folder)
                key.install(by.issue(key.csr(), node.subject, 60, NOW), by.root_pem, now=NOW)
                finished = True
            except Crash:
                finished = False
            done = calls() <= at
        if key_first:
            Identity.create_key(node.folder)
        load_with_crashes(node.folder)
        found = Identity.load(node.folder, NOW)
        outcomes.add("new" if found.serial != node.serial else "old")
        assert (found.root == by.root_pem) or found.serial == node.serial
        again = Identity.create_key(node.folder)
        assert again.install(by.issue(again.csr(), node.subject, 90, NOW), by.root_pem, now=NOW).expires > found.expires
        if done:
            assert finished
            assert found.serial != node.serial
            break
    else:
        pytest.fail("the renewal takes more steps than expected")
    assert at > 10
    assert outcomes == {"old", "new"}


def test_a_first_join_may_crash_too(authority: Authority, tmp_path: Path) -> None:
    for at in range(100):
        folder = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            calls = crashing(patch, at)
            with contextlib.suppress(Crash):
                key = Identity.create_key(folder)
                key.install(authority.issue(key.csr(), SUBJECT, 30, NOW), authority.root_pem, now=NOW)
            done = calls() <= at
        key = Identity.create_key(folder)
        assert key.install(authority.issue(key.csr(), SUBJECT, 30, NOW), authority.root_pem, now=NOW)
        if done:
            return
    pytest.fail("the join takes more steps than expected")
