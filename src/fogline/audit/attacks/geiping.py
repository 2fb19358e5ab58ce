"""Gradient inversion by angle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fogline.audit.findings import Finding
from fogline.audit.knowledge import Knowledge
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import Scene
from fogline.audit.searching import searched

if TYPE_CHECKING:
    from torch import Tensor

    from fogline.audit.inversion import Replay

SMOOTH = 1e-3


@ATTACKS.add("geiping")
def geiping(scene: Scene) -> Iterator[Finding]:
    """Examples whose training moves the model the same way (Geiping: angle and total variation, Adam)."""

    def search(replay: Replay, seen: Tensor, x: Tensor, y: Tensor, known: Knowledge) -> Tensor:
        from fogline.audit.inversion import by_angle

        return by_angle(replay, seen, x, y, 2 * scene.settings.iterations, (known.low, known.high), SMOOTH)

    return searched("geiping", scene, search)
