"""Model replacement."""

from __future__ import annotations

import numpy as np

from fogline.parameters import bounded
from fogline.params import Vector
from fogline.simulation.attacks.backdoor import Backdoor
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("model_replacement")
class ModelReplacement(Backdoor):
    """A backdoor whose updates are made so long that the mean becomes the malicious model (Bagdasaryan et al., 2020,
    arXiv 1807.00459)."""

    boost: float = bounded(0.0, ge=0)
    """Factor on a malicious update; 0 takes n / f, of n updates with f malicious ones."""

    def forge(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        return own * own.dtype.type(self.boost or view.count / view.malicious)
