"""What an aggregator keeps to add noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.params import State

OWN = "own/"


@dataclass(frozen=True, slots=True)
class NoiseState:
    """It lies with the group's model, so that a node that comes back after a crash has it, and so does a simulation."""

    key: bytes
    """32 secret bytes, from which the noise of the next release comes."""
    clip: float
    """That holds in this round."""
    population: int = 0
    """Devices below the aggregator, the most that it had at any release: after a restart some are not back yet."""
    own: State = field(default_factory=dict)
    """The mechanism's."""

    def key_of(self, name: str, data: bytes) -> bytes:
        """The key of the noise on what is released, 32 bytes.

        It rests on the data: computed again after a crash, the same sum gets the same noise, which no average of
        several takes away; another sum gets another noise, so that no difference of two sums is without any.

        Args:
            name: of what is released; each has noise of its own.
            data: what it is before there is noise on it.
        """
        prefix = name.encode()
        return blake2b(len(prefix).to_bytes(4, "big") + prefix + data, key=self.key, digest_size=32).digest()

    @property
    def next_key(self) -> bytes:
        """The key after a release: who finds it cannot make the noise of what was released before."""
        return self.key_of("next", b"")

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Named arrays."""
        plain: dict[str, npt.NDArray[Any]] = {
            "key": np.frombuffer(self.key, np.uint8),
            "clip": np.array([self.clip]),
            "population": np.array([self.population]),
        }
        return plain | {OWN + name: array for name, array in self.own.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> NoiseState | None:
        """Read what :meth:`to_arrays` wrote; None where there is nothing."""
        if "key" not in arrays:
            return None
        own = {name.removeprefix(OWN): array for name, array in arrays.items() if name.startswith(OWN)}
        return cls(arrays["key"].tobytes(), float(arrays["clip"][0]), int(arrays["population"][0]), own)
