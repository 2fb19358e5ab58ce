"""Boards of a real cloud, as each of its people sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fogline.dashboard.cloud import CloudBoard
from fogline.network.cloud.client import Client, connect
from tests.network.cluster import Cluster


def board_of(made: Cluster, identity: Path) -> CloudBoard:
    """What the person of an identity sees of a cloud."""

    @asynccontextmanager
    async def connection() -> AsyncGenerator[Client]:
        async with connect(identity, "cloud", made.cloud.address) as client:
            yield client

    async def nothing(_: Client) -> None:
        """There are no offline keys."""

    return CloudBoard(connection, identity.parent, "cloud", nothing)


def operator_of(made: Cluster) -> Path:
    """The operator's identity."""
    return made.folder / "cloud" / "operator" / "identity"
