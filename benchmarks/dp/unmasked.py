"""Secure aggregation without its masks, for the accuracy of thousands of devices: masks cancel out to the bit, and are
most of the time. It protects nobody."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from fogline.aggregation import Arrays, Partial, Update
from fogline.exchanges.base import SEED, Received
from fogline.exchanges.secagg import PrivateSecAgg, SecAgg
from fogline.exchanges.secagg.codes import code_of
from fogline.exchanges.secagg.layout import Layout, checked
from fogline.privacy.distributed import SharedNoise

CONTEXT = bytes(32)
"""In place of what binds a round: here every round has the same rotation."""


class Unmasked(SecAgg):
    """What devices send in secure aggregation, as the sum has it."""

    steps = ("join", "numbers")
    identified: ClassVar[bool] = False

    def with_noise(self, shared: SharedNoise) -> SecAgg:
        return UnmaskedNoise(**vars(self), private=shared)


class UnmaskedNoise(PrivateSecAgg):
    """The same with shares of noise."""

    steps = ("join", "numbers")
    identified: ClassVar[bool] = False

    def child(self, step: str, state: Received, received: Received) -> tuple[Arrays, Arrays]:
        update = checked(Update.from_arrays(state), self._settings)
        if step == "join":
            return {"layout": np.frombuffer(Layout.of(update).text, np.uint8)}, dict(state)
        code = code_of(self._settings, Layout.of(update), int(received["members"][0]), CONTEXT)
        numbers, tail = code.encode(update, state[SEED].tobytes())
        return {"numbers": numbers, "tail": tail}, {}

    def parent(
        self, step: str, state: Received, payloads: Mapping[str, Received]
    ) -> tuple[Mapping[str, Arrays], Arrays]:
        if step == "join":
            layout, members = next(iter(payloads.values()))["layout"], np.array([len(payloads)])
            return {child: {"members": members} for child in payloads}, {"layout": layout, "members": members}
        code = code_of(self._settings, Layout.read(state["layout"].tobytes()), int(state["members"][0]), CONTEXT)
        sums = [sum(payload[name] for payload in payloads.values()) for name in ("numbers", "tail")]
        summed = code.decode(np.asarray(sums[0], code.kind), np.asarray(sums[1]), len(payloads))
        return {child: {} for child in payloads}, summed.to_arrays()

    def result(self, state: Received) -> Update | Partial:
        return Update.from_arrays(state)
