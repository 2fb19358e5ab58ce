"""Was an example trained on? By how models that had it differ from models that had not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fogline.audit.attacks.membership import found
from fogline.audit.findings import Finding
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import Scene
from fogline.audit.shadows import scored
from fogline.privacy.attacks.membership import likelihood_ratio


@ATTACKS.add("lira")
def lira(scene: Scene) -> Iterator[Finding]:
    """Whether an example was trained on, by a likelihood ratio learned from shadow runs (LiRA)."""
    for place, kept in scored(scene, 1 + scene.settings.shadows).items():
        ratio = likelihood_ratio(kept.scores[0], np.stack(kept.scores[1:]), np.stack(kept.inside[1:]))
        yield found("lira", place, kept, ratio)
