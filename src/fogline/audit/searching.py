"""What the attacks that search have in common: where they begin, and what they look for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from fogline.audit.findings import Finding, NotApplicableError
from fogline.audit.knowledge import Knowledge, continuous
from fogline.audit.label_counts import guessed_labels
from fogline.audit.looking import on_every_view, rebuilt
from fogline.audit.scene import Observation, Scene
from fogline.audit.tap import View

if TYPE_CHECKING:
    from torch import Tensor

    from fogline.audit.inversion import Replay

Search = Callable[["Replay", "Tensor", "Tensor", "Tensor", Knowledge], "Tensor"]
"""(replay, movement seen, first guess, labels, what is known) to examples."""


def searched(attack: str, scene: Scene, search: Search) -> Iterator[Finding]:
    """What a search finds in one view from every place, in every trial.

    Raises:
        NotApplicableError: there is nothing to search in.
    """
    try:
        import torch

        from fogline.audit.inversion import Replay
    except ImportError:
        raise NotApplicableError("the attack wants PyTorch, which is not installed") from None

    def look(examples: int | None, seen: Observation, view: View) -> Finding:
        known = scene.known(view, examples)
        count = min(view.samples, scene.settings.pictures)
        alone = len(view.members) == 1 and count == view.samples
        replay = Replay(seen.task, seen.params(view, moved=False), view.members[0].plan, count, alone)
        y = torch.from_numpy(guessed_labels(scene, examples, seen, view, count)).to(replay.device)
        rng = np.random.default_rng(scene.settings.seed)
        x = known.inputs.mean() + known.inputs.std() * rng.standard_normal((count, *known.inputs.shape[1:]))
        begin, moved = (torch.from_numpy(array).to(replay.device, replay.task.dtype) for array in (x, view.movement))
        found = search(replay, moved, begin, y, known).double().cpu().numpy()
        found = np.clip(np.nan_to_num(found, nan=known.low), known.low, known.high)
        return rebuilt(attack, scene, examples, view, known.compared(continuous(seen.examples(view)), found))

    return on_every_view(attack, scene, look)
