"""Was an example trained on? By its loss alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fogline.audit.findings import Finding
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import Scene
from fogline.audit.shadows import ScoredExamples, scored
from fogline.privacy.attacks.membership import auc, found_at

LEAKS, HINTS = 0.6, 0.55
"""Areas under the curve; of a few hundred examples, chance alone seldom comes to 0.55."""
FALSE_ALARMS = 0.01


@ATTACKS.add("membership")
def membership(scene: Scene) -> Iterator[Finding]:
    """Whether an example was trained on, by its loss under what came up (a threshold)."""
    for place, kept in scored(scene, 1).items():
        yield found("membership", place, kept, kept.scores[0])


def found(attack: str, place: str, kept: ScoredExamples, scores: npt.NDArray[np.float64]) -> Finding:
    """What scores (n,) of the run under attack tell of who was in it; those that are not finite are left out."""
    known = np.isfinite(scores)
    members, others = scores[known & kept.inside[0]], scores[known & ~kept.inside[0]]
    if not (len(members) and len(others)):
        return Finding(attack, place, "not applicable", "No example could be asked after.", None, kept.devices)
    area, rate = auc(members, others), found_at(members, others, FALSE_ALARMS)
    return Finding(
        attack,
        place,
        "leaks" if area >= LEAKS else "hints" if area >= HINTS else "holds",
        f"Members are told from others with an area of {area:.2f} (chance: 0.50), {100 * rate:.0f} % of them at "
        f"{100 * FALSE_ALARMS:.0f} % false alarms.",
        None,
        kept.devices,
        {"auc": area, "found_at_1_percent": rate, "asked": float(known.sum())},
    )
