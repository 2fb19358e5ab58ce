"""A lower bound on epsilon: examples that make no sense are put in by the flip of a coin, and found again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fogline.audit import twins
from fogline.audit.findings import Finding, NotApplicableError
from fogline.audit.knowledge import Knowledge
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import Observation, Scene
from fogline.audit.tap import View
from fogline.audit.twins import Canaries
from fogline.data import Examples
from fogline.params import Vector
from fogline.privacy.attacks.one_run import Bound, bound
from fogline.privacy.attacks.presence import presence
from fogline.training.context import ModelFunctions
from fogline.training.local import ClientJob

DELTA = 1e-5
LEAKS = 1.0
"""The epsilon from which on it is called a leak."""
MOST_EACH = 20
OTHERS = 128
"""Examples that stand for what else was trained on."""
MOST_NUMBERS = 20_000
"""Of a model that are looked at: some, drawn by the seed, tell as much as all."""

Rows = npt.NDArray[np.float64]


@ATTACKS.add("canary")
def canary(scene: Scene) -> Iterator[Finding]:
    """How private one example is at most: canaries by the flip of a coin, in one run (Steinke et al.)."""
    canaries = _drawn(scene)
    seen = scene.observe(twins.with_canaries(scene.data, canaries), scene.settings.rounds)
    slopes = _Slopes(scene, seen)
    delta = DELTA if scene.job.privacy is None else scene.job.privacy.delta
    for place in seen.places():
        views = seen.at(place)
        scores, coins = _scores(scene, slopes, views, canaries)
        yield _finding(place, len(views[0].members), bound(scores, coins, delta), len(coins), delta)


def _finding(place: str, devices: int, shown: Bound, canaries: int, delta: float) -> Finding:
    measures = {"epsilon": shown.epsilon, "most": shown.most, "canaries": float(canaries), "delta": delta}
    measures |= {"correct": float(shown.correct), "guesses": float(shown.guesses)}
    return Finding(
        "canary",
        place,
        "leaks" if shown.epsilon >= LEAKS else "hints" if shown.epsilon > 0 else "holds",
        f"Of one example, epsilon is at least {shown.epsilon:.2f} with 95 % confidence ({shown.correct} of "
        f"{shown.guesses} coins guessed right; {canaries} canaries can show at most {shown.most:.1f}).",
        None,
        devices,
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
    scene: Scene, slopes: _Slopes, views: Sequence[View], canaries: dict[int, Canaries]
) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """How much of each canary is in the views that its device is in, on average; and whether it was there. Canaries of
    devices that were not seen are left out: that does not depend on the coins."""
    found: dict[int, list[Rows]] = {}
    # Whose they are does not matter: a bound on epsilon may grant the attacker all but the coins.
    known = Knowledge.of(scene.data, (), None).examples.part(slice(OTHERS))
    for view in views:
        clients = [client for client in dict.fromkeys(one.client for one in view.members) if client in canaries]
        if not clients:
            continue
        parts = [slopes.of(view, client, canaries[client].examples) for client in clients]
        others = slopes.of(view, -1, known)
        held = presence(view.movement[slopes.places], np.concatenate([*parts, others]))
        for client, score in zip(clients, np.split(held, np.cumsum([len(part) for part in parts])), strict=False):
            found.setdefault(client, []).append(score)
    return (
        np.concatenate([np.mean(scores, axis=0) for scores in found.values()]),
        np.concatenate([canaries[client].coins for client in found]),
    )


class _Slopes:
    """The gradients of examples, one by one, at the models that went down; each is computed once."""

    def __init__(self, scene: Scene, seen: Observation) -> None:
        size = seen.task.shared.trainable
        rng = np.random.default_rng(scene.settings.seed)
        self.places = np.sort(rng.permutation(size)[:MOST_NUMBERS])
        self._seen = seen
        self._known: dict[tuple[bytes, int], Rows] = {}

    def of(self, view: View, client: int, examples: Examples) -> Rows:
        """(n, numbers) of a client's canaries, or of others' examples."""
        key = view.members[0].start.tobytes(), client
        if key not in self._known:
            params = self._seen.params(view, moved=False)
            model = self._seen.task.model_functions(ClientJob(0, params.vector, params.counters, 1, 0.0, 0))
            weights = params.vector[: params.spec.trainable]
            rows = [_slope(model, weights, examples.part(slice(i, i + 1))) for i in range(examples.count)]
            self._known[key] = np.stack([row[self.places].astype(np.float64) for row in rows])
        return self._known[key]


def _slope(model: ModelFunctions, weights: Vector, one: Examples) -> Vector:
    """(P,) the gradient of the loss on an example.

    Raises:
        NotApplicableError: this kind of task gives none.
    """
    try:
        _, slope = model.loss(weights, one.x, one.y, gradient=True)
    except ValueError as error:  # As tasks of other kinds say.
        raise NotApplicableError(str(error)) from error
    assert slope is not None
    return slope
