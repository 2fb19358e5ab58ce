"""What a job says of its secure aggregation, and what follows from it for a round of so many."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from fogline.exchanges.base import ExchangeError
from fogline.privacy.distributed import SharedNoise
from fogline.privacy.graph import degree, needed
from fogline.privacy.ring import Ring, RingError


@dataclass(frozen=True)
class SecAggSettings:
    """The parameters of :class:`fogline.exchanges.secagg.SecAgg`, where they are described."""

    threshold: float
    bits: int
    clip: float
    weight: float
    minimum: int
    private: SharedNoise | None = None
    """Noise that the devices add in shares; None: the sum is exact."""

    @property
    def text(self) -> bytes:
        """All of them: devices that do not have the same are not in the same round."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    def peers(self, members: int) -> int:
        """How many peers each member draws."""
        return degree(members, self.threshold)

    def needed(self, members: int) -> int:
        """How many of its peers must be there for a member's masks to be taken off."""
        return needed(self.peers(members), self.threshold)

    def masked(self, members: int) -> int:
        """With how many of its peers a member has masks by its own choice: with all, or, where others that draw it come
        on top of these, with half of them."""
        peers = self.peers(members)
        return peers if peers == members - 1 else peers // 2

    def needed_masks(self, members: int) -> int:
        """How many of these must be there: more than half of them, or as many as of all its peers."""
        return min(self.needed(members), self.masked(members) // 2 + 1)

    def ring(self, members: int) -> Ring:
        """What a round of so many sums in.

        Raises:
            ExchangeError: there is no room for so many.
        """
        try:
            return Ring(self.bits, members, self.clip, self.weight)
        except RingError as error:
            raise ExchangeError(str(error)) from error

    def check_members(self, members: int, what: str) -> None:
        """Refuse a sum of too few.

        Raises:
            ExchangeError: there are fewer than the minimum.
        """
        if members < self.minimum:
            raise ExchangeError(f"{members} devices {what}; a sum of fewer than {self.minimum} tells too much of each.")

    def check_left(self, left: int, members: int, what: str) -> None:
        """Refuse a sum of too few, or one that lacks the noise of too many.

        Raises:
            ExchangeError: fewer are left than the minimum, or than those whose noise it takes.
        """
        self.check_members(left, what)
        fewest = 0 if self.private is None else self.private.fewest(members)
        if left < fewest:
            raise ExchangeError(
                f"{left} of {members} devices {what}, and it takes the noise of {fewest}; raise 'quorum' of the tier, "
                "or lower 'left' of the mechanism."
            )
