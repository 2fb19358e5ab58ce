"""An authority, a developer and a fixed moment, made once for all tests of the room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Role, Subject

NOW = 1_800_000_000.0
JOB = 'task = "vibration:make"\nrounds = 3\n'

Join = Callable[..., Identity]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), now=NOW - 1000)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority with the same name."""
    return Authority.create(tmp_path_factory.mktemp("other"), now=NOW - 1000)


@pytest.fixture(scope="session")
def ana(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("ana") / "signing.key", "ana")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """A stranger who says to be ana."""
    return SigningKey.create(tmp_path_factory.mktemp("mallory") / "signing.key", "ana")


@pytest.fixture
def join(tmp_path: Path) -> Join:
    """Give a node an identity: ``join(authority, "press-7", "device", now=…)``."""

    def _join(by: Authority, name: str, role: Role, days: float = 30, now: float = NOW) -> Identity:
        key = Identity.create_key(tmp_path / name)
        return key.install(by.issue(key.csr(), Subject(name, role), days, now), by.root_pem, now=now)

    return _join
