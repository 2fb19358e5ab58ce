"""A lower bound on epsilon: wrong examples that are put in by the flip of a coin, and found again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fogline.audit import twins
from fogline.audit.findings import ATTACKS, Finding, NotApplicableError
from fogline.audit.scene import Observation, Scene, losses, where
from fogline.audit.tap import View
from fogline.audit.twins import Canaries
from fogline.data import Examples
from fogline.data.inputs import joined
from fogline.privacy.attacks.one_run import bound

DELTA = 1e-5
LEAKS, HINTS = 1.0, 0.0
MOST_EACH = 20


@ATTACKS.add("canary")
def canary(scene: Scene) -> Iterator[Finding]:
    """How private one example can be at most: canaries by the flip of a coin, in one run (Steinke et al.)."""
    canaries = _drawn(scene)
    data = twins.with_canaries(scene.data, canaries)
    seen = scene.observe(data, scene.settings.rounds)
    delta = DELTA if scene.job.privacy is None else scene.job.privacy.delta
    for place in seen.places():
        views = seen.at(place)
        scores, coins = _scores(seen, views, canaries)
        shown = bound(scores, coins, delta)
        measures = {"epsilon": shown.epsilon, "most": shown.most, "canaries": float(len(coins)), "delta": delta}
        measures |= {"correct": float(shown.correct), "guesses": float(shown.guesses)}
        yield Finding(
            "canary",
            place,
            "leaks" if shown.epsilon >= LEAKS else "hints" if shown.epsilon > HINTS else "holds",
            f"Of one example, epsilon is at least {shown.epsilon:.2f} with 95 % confidence ({shown.correct} of "
            f"{shown.guesses} coins guessed right; {len(coins)} canaries can show at most {shown.most:.1f}): "
            f"{where(place, len(views[0].members))}.",
            None,
            len(views[0].members),
            measures,
        )


def _drawn(scene: Scene) -> dict[int, Canaries]:
    """Canaries of as many clients as it takes."""
    data, wanted = scene.data, scene.settings.canaries
    some = data.at(0).y
    if some.ndim != 1 or (data.classes is not None and some.dtype.kind == "f"):
        raise NotApplicableError("an example has more than one target, and a canary wants one that is wrong")
    each = min(MOST_EACH, max(1, -(-wanted // len(data.clients))))
    clients = range(min(len(data.clients), -(-wanted // each)))
    return {client: Canaries.of(data, client, each, scene.settings.seed) for client in clients}


def _scores(
    seen: Observation, views: Sequence[View], canaries: dict[int, Canaries]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How much the loss of each canary fell, on average over the views that its device is in; and whether it was
    there. Canaries of devices that were not seen are left out: that does not depend on the coins."""
    fell: dict[int, npt.NDArray[np.float64]] = {}
    times: dict[int, int] = {}
    for view in views:
        clients = [member for member in dict.fromkeys(one.client for one in view.members) if member in canaries]
        if not clients:
            continue
        parts = [canaries[client].examples for client in clients]
        joint = Examples(joined([part.x for part in parts]), np.concatenate([part.y for part in parts]))
        before, after = (losses(seen.task, seen.params(view, moved), joint) for moved in (False, True))
        split = np.split(before - after, np.cumsum([part.count for part in parts])[:-1])
        for client, drop in zip(clients, split, strict=True):
            fell[client] = fell.get(client, np.zeros_like(drop)) + drop
            times[client] = times.get(client, 0) + 1
    scores = [fell[client] / times[client] for client in fell]
    coins = [canaries[client].coins for client in fell]
    return np.concatenate(scores), np.concatenate(coins)
