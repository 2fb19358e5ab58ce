"""Who serves what among the nodes of ``fogline up``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from fogline.cli.failures import JobFailedError

PATIENCE = 90.0
"""Seconds that all devices have to serve a version, beside the time that its rollout takes."""


@dataclass
class ServingStatus:
    """Who serves what, by what the nodes told."""

    addresses: dict[str, str] = field(default_factory=dict[str, str])
    versions: dict[str, int] = field(default_factory=dict[str, int])
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self, node: str, address: str) -> None:
        """A node's server listens."""
        self.addresses[node] = address
        self.news.set()

    def serves(self, node: str, version: int) -> None:
        """A node has committed to a version."""
        self.versions[node] = version
        self.news.set()

    async def all_serve(self, nodes: Sequence[str], version: int, rollout: float) -> None:
        """Wait until all these nodes have committed to a version.

        Args:
            nodes: who.
            version: to what.
            rollout: seconds that it may take to go through all rings.

        Raises:
            JobFailedError: they do not.
        """
        wait = PATIENCE + rollout
        try:
            async with asyncio.timeout(wait):
                while not all(self.versions.get(node) == version for node in nodes):
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            late = [node for node in nodes if self.versions.get(node) != version]
            raise JobFailedError(f"Version {version} is not served by {', '.join(late)} after {wait:g} s") from None
