"""Questions of children whose own model was not sure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Never

from fogline.network.node.mirror import ask_parent
from fogline.network.node.services.base import Service
from fogline.network.transport.messages import OffloadRequest
from fogline.network.transport.ports import Call
from fogline.processes.messages import decoder


class PredictionService(Service[Never, Never]):
    """Has them answered here, or further up."""

    def calls(self) -> Mapping[str, Call]:
        return {"Infer": Call(decoder(OffloadRequest), self._infer)}

    async def _infer(self, asked: OffloadRequest) -> bytes:
        async with asyncio.timeout(asked.seconds):
            return await self.infer(asked.ask, asked.seconds)

    async def infer(self, ask: bytes, seconds: float) -> bytes:
        """Answer for a child, or pass the question on.

        Raises:
            LookupError: nobody can answer; the text says why.
        """
        if self.node.serving is not None:
            return await self.node.serving.infer(ask, seconds)
        if self.node.uplink is None:
            raise LookupError(f"{self.node.name} serves no model")
        return await ask_parent(self.node.uplink, ask, seconds)
