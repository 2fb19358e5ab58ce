"""Gradient inversion by distance."""

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


@ATTACKS.add("dlg")
def dlg(scene: Scene) -> Iterator[Finding]:
    """Examples whose training moves the model to the same place (DLG: squared distance, L-BFGS)."""

    def search(replay: Replay, seen: Tensor, x: Tensor, y: Tensor, known: Knowledge) -> Tensor:
        from fogline.audit.inversion import by_distance

        return by_distance(replay, seen, x, y, scene.settings.iterations)

    return searched("dlg", scene, search)
