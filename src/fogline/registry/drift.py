"""When drift, as the nodes below report it, is an event: something that a training job may be begun for."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from fogline.inference.shifts import MAJOR, MODERATE
from fogline.inference.sketches import Reference, Sketch
from fogline.registry.release import Vitals

_PARTS = 24
"""Parts of a window: it moves by one of them."""


class DriftRule(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as drift, and how often it is told."""

    psi: float = MAJOR
    """PSI of one feature from which inputs have drifted,"""
    over: float = MODERATE
    """and of the worst feature below which that is over. In between nothing changes (hysteresis)."""
    rows: int = 500
    """Samples in the window without which nothing is said."""
    window: float = 3600.0
    """Seconds that are looked back on."""
    cooldown: float = 6 * 3600.0
    """Seconds after an event within which the same version makes no other, whatever happens."""


class Drifted(NamedTuple):
    """The inputs of a version have drifted."""

    model: str
    version: int
    psi: float
    feature: str
    """The worst,"""
    why: str
    """and a sentence."""


class DriftRules:
    """Follows the drift of all models and versions. It knows no clock and no random source.

    One drift makes one event: the next comes only after the worst feature was below ``over`` for a while.

    Args:
        rule: the same for all.
    """

    def __init__(self, rule: DriftRule) -> None:
        self._rule = rule
        self._followed: dict[tuple[str, int], _Followed] = {}

    def saw(self, vitals: Vitals, reference: Reference, now: float) -> Drifted | None:
        """What nodes report; the event that it makes.

        Args:
            vitals: merged ones are best.
            reference: of that version.
            now: seconds, of a clock that never goes back.

        Raises:
            SketchError: the sketch is none, or of another reference; it is left out.
        """
        if not vitals.sketch:
            return None
        key = vitals.model, vitals.version
        sketch = Sketch.zero(reference) + Sketch.decode(vitals.sketch)
        followed = self._followed.setdefault(key, _Followed())
        for one in self._followed.values():  # Of versions, too, that nobody reports on any more.
            one.forget_before(now - self._rule.window)
        followed.add(sketch, now, self._rule.window)
        total = followed.total()
        if total.rows < self._rule.rows:
            return None
        worst = total.shifts(reference)[0]
        followed.psi = worst.psi
        if worst.psi < self._rule.over:
            followed.drifted = False
        if worst.psi < self._rule.psi or followed.drifted or now < followed.quiet_until:
            return None
        followed.drifted, followed.quiet_until = True, now + self._rule.cooldown
        why = (
            f"Inputs of {vitals.model} version {vitals.version} have drifted from those of training: "
            f"PSI {worst.psi:.2f} in '{worst.feature}' over {total.rows} samples (a major change is {MAJOR})."
        )
        return Drifted(vitals.model, vitals.version, worst.psi, worst.feature, why)

    def psi(self, model: str, version: int) -> float | None:
        """Of the worst feature, as of the last report; None while too few samples have come."""
        followed = self._followed.get((model, version))
        return None if followed is None else followed.psi

    @property
    def held(self) -> int:
        """Sketches in memory, of all versions."""
        return sum(followed.parts for followed in self._followed.values())


class _Followed:
    """The window of one version."""

    def __init__(self) -> None:
        self.drifted = False
        self.psi: float | None = None
        self.quiet_until = float("-inf")
        self._parts: deque[tuple[float, Sketch]] = deque()

    def add(self, sketch: Sketch, now: float, window: float) -> None:
        if self._parts and now - self._parts[-1][0] < window / _PARTS:
            began, part = self._parts.pop()
            self._parts.append((began, part + sketch))
        else:
            self._parts.append((now, sketch))

    def forget_before(self, moment: float) -> None:
        while self._parts and self._parts[0][0] <= moment:
            self._parts.popleft()

    @property
    def parts(self) -> int:
        """How many parts are held."""
        return len(self._parts)

    def total(self) -> Sketch:
        total = self._parts[0][1]
        for _, part in list(self._parts)[1:]:
            total += part
        return total
