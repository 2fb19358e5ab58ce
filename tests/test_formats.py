"""What lies on a disk bears its format: another version's is refused in a sentence, and never misread.

Those of run folders, checkpoints, cards, bundles and of the wire are tested beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from fogline.cli.connection import facts_of
from fogline.governance.errors import TrustError
from fogline.network.cloud.folder import FACTS, OperatorFacts
from fogline.network.node.membership import FILE, Membership
from fogline.network.node.participation.driver import Driver
from fogline.network.node.participation.replay import ENCODE, Under
from fogline.network.transport.messages import ParentAddress
from fogline.nodes import Device
from fogline.nodes.records import Assigned
from fogline.registry.trust.offline_metadata import OfflineMetadata, read_offline_metadata
from fogline.registry.trust.signing import MetadataError
from fogline.storage import StorageError, open_database

REFUSED = "has format 2; this version of Fogline reads 1"


def recover(folder: Path, *entries: object) -> None:
    """Have a device become what a journal of these entries says."""

    async def work() -> None:
        database = open_database(folder / "records.sqlite")
        try:
            database.append("j-1", [ENCODE(entry) for entry in entries])
            nothing = cast("Any", None)
            await Driver("j-1", Device("a", "fog"), database, nothing, nothing, nothing, "fog").recover()
        finally:
            database.close()

    asyncio.run(work())


def test_the_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"the journal of job j-1 {REFUSED}"):
        recover(tmp_path, Under("fog", "b", format=2), Assigned(0, 0, "fog@0"))


def test_a_journal_with_records_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the journal of job j-1 cannot be read"):
        recover(tmp_path, Under("fog", "b"), {"type": "Teleported"})


def operator(folder: Path) -> object:
    (folder / FACTS).write_bytes(msgspec.json.encode(OperatorFacts("cloud", "h:1", format=2)))
    return facts_of(folder)


def member(folder: Path) -> object:
    Membership("a", "device", (ParentAddress("fog", "h:1"),), format=2).write(folder)
    assert (folder / FILE).exists()
    return Membership.read(folder, "device")


def offline_metadata(_: Path) -> object:
    return read_offline_metadata(OfflineMetadata((), b"", format=2).encoded())


@pytest.mark.parametrize("read", [operator, member, offline_metadata])
def test_files_of_another_format_are_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises((TrustError, MetadataError), match=REFUSED):
        read(tmp_path)
