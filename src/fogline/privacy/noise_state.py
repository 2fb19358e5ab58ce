"""What an aggregator keeps to add noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.params import State

OWN = "own/"


@dataclass(frozen=True, slots=True)
class NoiseState:
    """It lies with the group's model, so that a node that comes back after a crash has it, and so does a simulation."""

    key: bytes
    """Decides the noise of the next release, together with what is released: the same sum gets the same noise when it
    is computed again after a crash, and another sum another noise. It is replaced at every release, so that who finds
    it later cannot make old noise."""
    clip: float
    """That holds in this round."""
    own: State = field(default_factory=dict)
    """The mechanism's."""

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Named arrays."""
        plain = {"key": np.frombuffer(self.key, np.uint8), "clip": np.array([self.clip])}
        return plain | {OWN + name: array for name, array in self.own.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> NoiseState | None:
        """Read what :meth:`to_arrays` wrote; None where there is nothing."""
        if "key" not in arrays:
            return None
        own = {name.removeprefix(OWN): array for name, array in arrays.items() if name.startswith(OWN)}
        return cls(arrays["key"].tobytes(), float(arrays["clip"][0]), own)
