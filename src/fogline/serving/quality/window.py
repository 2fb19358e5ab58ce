"""The last samples of a version, and how far they are from the reference."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from fogline.inference.shifts import MAJOR, MODERATE
from fogline.inference.sketches import Reference, Shift, Sketch

PART = 256
PARTS = 8
"""The window holds the last 2,048 samples, and moves by 256."""


class WindowDrift(NamedTuple):
    """How far inputs and confidence have moved from those at training time."""

    rows: int = 0
    """Samples that this is told from."""
    psi: float = 0.0
    """Mean over the features, beyond what chance explains (:mod:`fogline.inference.shifts`)."""
    worst: Shift | None = None
    shifts: tuple[Shift, ...] = ()
    """Of every feature, the largest first."""
    fallen: bool = False
    """Whether confidence has fallen since the version began to serve (Page-Hinkley),"""
    statistic: float = 0.0
    """and the test's statistic."""

    @property
    def major(self) -> bool:
        """Whether the drift is so large that somebody should look."""
        return self.fallen or (self.worst is not None and self.worst.psi >= MAJOR)

    @property
    def sentence(self) -> str:
        """What the window says, in a sentence for people."""
        fall = " Confidence has fallen since this version began to serve." if self.fallen else ""
        if self.worst is None:
            return (fall or " There is no reference or no sample yet, so nothing is known of drift.").strip()
        where = f"'{self.worst.feature}' (PSI {self.worst.psi:.2f}, {self.rows} samples)"
        if self.worst.psi >= MAJOR:
            return f"Inputs differ much from those of training, most in {where}.{fall}"
        if self.worst.psi >= MODERATE:
            return f"Inputs differ somewhat from those of training, most in {where}.{fall}"
        return f"Inputs look like those of training ({self.rows} samples).{fall}"


class SampleWindow:
    """The last :data:`PARTS` times :data:`PART` samples.

    Args:
        reference: what they are compared with.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._zero = Sketch.zero(reference)
        self._parts: deque[Sketch] = deque([self._zero], PARTS)

    def add(self, sketch: Sketch) -> bool:
        """Take in some more; whether the window has moved on."""
        self._parts[-1] += sketch
        moved = self._parts[-1].rows >= PART
        if moved:
            self._parts.append(self._zero)
        return moved

    @property
    def far(self) -> bool:
        """Whether some feature has moved so far that somebody should look."""
        return max(self._sum().psi(self._reference).values(), default=0.0) >= MAJOR

    def _sum(self) -> Sketch:
        return sum(self._parts, self._zero)

    def drift(self) -> WindowDrift:
        """How far they are from the reference."""
        sketch = self._sum()
        if not sketch.rows:
            return WindowDrift()
        shifts = tuple(sketch.shifts(self._reference))
        return WindowDrift(sketch.rows, sum(s.psi for s in shifts) / len(shifts), shifts[0], shifts)
