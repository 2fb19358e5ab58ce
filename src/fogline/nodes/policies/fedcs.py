"""FedCS: as many children as the deadline holds."""

from __future__ import annotations

import math
import random
from statistics import median

from fogline.nodes.policies.base import Candidates, Selection
from fogline.nodes.policies.parameters import number
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import draw


@POLICIES.add("fedcs", "the quickest of a random pool, as many as fit in the deadline")
class FedCS(Selection):
    """Draws a pool uniformly and packs it into the deadline, always the child that adds the least time.

    Nishio and Yonetani, "Client Selection for Federated Learning with Heterogeneous Resources in Mobile Edge",
    ICC 2019, algorithm 3. There children train side by side and upload one after the other over a shared
    link; a child that needs ``s`` seconds uploads for ``upload_share * s`` of them. A set's time grows by::

        end = max(end, train) + upload        train = (1 - upload_share) * s,  upload = upload_share * s

    and no child is taken that would move ``end`` past the deadline. A child whose time nobody knows counts
    with the median of the pool. O(pool * k), or O(pool log pool) without a shared link.

    Args:
        pool: children drawn per child wanted (the paper asks a tenth of all and packs what fits).
        upload_share: share of a child's time on the shared uplink; 0 where every child has a link of its own.
    """

    def __init__(self, *, pool: float = 3.0, upload_share: float = 0.0) -> None:
        self._pool = number("pool", pool, 1.0)
        self._upload = number("upload_share", upload_share, 0.0, 1.0)

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        pool = draw(candidates, math.ceil(self._pool * k), rng, now)
        times = _times(candidates, pool)
        return self._pack(pool, times, k, candidates.deadline)

    def _pack(self, pool: list[str], times: dict[str, float], k: int, deadline: float) -> list[str]:
        left = sorted(pool, key=times.__getitem__)
        picked: list[str] = []
        end = 0.0
        while left and len(picked) < k:
            if self._upload:
                child = min(left, key=lambda c: self._end(end, times[c]))
            else:
                child = left[0]
            end = self._end(end, times[child])
            if end > deadline:
                break
            picked.append(child)
            left.remove(child)
        return picked

    def _end(self, end: float, seconds: float) -> float:
        return max(end, (1.0 - self._upload) * seconds) + self._upload * seconds


def _times(candidates: Candidates, pool: list[str]) -> dict[str, float]:
    told = {child: candidates.seconds(child) for child in pool}
    known = [seconds for seconds in told.values() if seconds is not None]
    usual = median(known) if known else 0.0
    return {child: usual if seconds is None else seconds for child, seconds in told.items()}
