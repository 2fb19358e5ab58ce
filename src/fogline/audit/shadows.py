"""Runs of the job on random halves of everybody's examples: half the examples are members of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fogline.audit import twins
from fogline.audit.scene import Observation, Scene, losses
from fogline.audit.tap import View
from fogline.data import Examples
from fogline.data.inputs import joined
from fogline.privacy.attacks.membership import log_odds

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
MOST = 48
"""Examples of a device that are asked after."""


@dataclass(slots=True)
class ScoredExamples:
    """What some runs say of the same examples, as one place saw them; a row for each run."""

    devices: int
    """Whose updates are one in what was seen."""
    clients: list[int]
    """Whose examples are asked after."""
    scores: list[Scores] = field(default_factory=list[Scores])
    """(n,) higher where the model fits the example; NaN where the device was not seen in the run."""
    inside: list[Flags] = field(default_factory=list[Flags])
    """(n,) whether it was trained on."""


def scored(scene: Scene, runs: int) -> dict[str, ScoredExamples]:
    """By place, what that many runs say; the first is the one under attack.

    Raises:
        NotApplicableError: part of the model is not seen.
    """
    found: dict[str, ScoredExamples] = {}
    for number in range(runs):
        seed = scene.settings.seed + number
        seen = scene.observe(twins.halves(scene.data, seed), scene.settings.rounds, number)
        if not number:
            found = {place: _first(seen.at(place), scene.settings.devices) for place in seen.places()}
        for place, kept in found.items():
            asked = [scene.data.at(client).part(slice(MOST)) for client in kept.clients]
            kept.scores.append(_scores(seen, seen.at(place), kept.clients, asked))
            sizes = [(client, scene.data.at(client).count) for client in kept.clients]
            kept.inside.append(np.concatenate([twins.inside(seed, *each)[:MOST] for each in sizes]))
    return found


def _first(views: Sequence[View], count: int) -> ScoredExamples:
    clients = dict.fromkeys(member.client for view in views for member in view.members)
    return ScoredExamples(len(views[0].members), list(clients)[:count])


def _scores(seen: Observation, views: Sequence[View], clients: list[int], asked: list[Examples]) -> Scores:
    """(n,) mean score of each example over the views that its device is in."""
    totals, counts = [np.zeros(each.count) for each in asked], np.zeros(len(asked))
    for view in views:
        inside = {member.client for member in view.members}
        places = [place for place, client in enumerate(clients) if client in inside]
        if not places:
            continue
        joint = _joined([asked[place] for place in places])
        loss = losses(seen.task, seen.params(view, moved=True), joint)
        score = log_odds(loss) if seen.task.classifies else -loss
        for place, part in zip(places, np.split(score, np.cumsum([asked[p].count for p in places])[:-1]), strict=True):
            totals[place] += part
            counts[place] += 1
    with np.errstate(invalid="ignore"):
        return np.concatenate([total / count for total, count in zip(totals, counts, strict=True)])


def _joined(parts: Sequence[Examples]) -> Examples:
    return Examples(joined([part.x for part in parts]), np.concatenate([part.y for part in parts]))
