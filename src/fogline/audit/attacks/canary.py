"""A lower bound on epsilon: wrong examples that are put in by the flip of a coin, and found again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fogline.audit import twins
from fogline.audit.attacks.labels import probabilities
from fogline.audit.findings import ATTACKS, Finding, NotApplicableError
from fogline.audit.scene import Observation, Scene, losses, where
from fogline.audit.tap import View
from fogline.audit.twins import Canaries
from fogline.data import Examples
from fogline.data.inputs import joined
from fogline.params import Params
from fogline.privacy.attacks.one_run import bound
from fogline.training.task import Task

DELTA = 1e-5
LEAKS, HINTS = 1.0, 0.0
MOST_EACH = 20
LEAST = 1e-12


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
    """How much better the model came to fit each canary, on average over the views that its device is in; and whether
    it was there. Canaries of devices that were not seen are left out: that does not depend on the coins."""
    gained: dict[int, npt.NDArray[np.float64]] = {}
    times: dict[int, int] = {}
    for view in views:
        clients = [member for member in dict.fromkeys(one.client for one in view.members) if member in canaries]
        if not clients:
            continue
        parts = [canaries[client].examples for client in clients]
        joint = Examples(joined([part.x for part in parts]), np.concatenate([part.y for part in parts]))
        before, after = (_exposed(seen.task, seen.params(view, moved), joint) for moved in (False, True))
        split = np.split(after - before, np.cumsum([part.count for part in parts])[:-1])
        for client, gain in zip(clients, split, strict=True):
            gained[client] = gained.get(client, np.zeros_like(gain)) + gain
            times[client] = times.get(client, 0) + 1
    scores = [gained[client] / times[client] for client in gained]
    coins = [canaries[client].coins for client in gained]
    return np.concatenate(scores), np.concatenate(coins)


def _exposed(task: Task, params: Params, canaries: Examples) -> npt.NDArray[np.float64]:
    """(n,) how much better the model likes the class of each canary than the average class, for that input: of the
    wrong classes any might have been drawn. Of numbers, how well it fits them."""
    classes = task.data.classes
    if classes is None:
        return -losses(task, params, canaries)
    likely = probabilities(task, params, canaries)
    if likely is None:
        every = [losses(task, params, Examples(canaries.x, np.full_like(canaries.y, c))) for c in range(classes)]
        scores = -np.stack(every, axis=1)
    else:
        scores = np.log(np.maximum(likely, LEAST))
    return scores[np.arange(canaries.count), canaries.y] - scores.mean(1)
