"""Attacks by name, and how one is made of what a job says: ``ipm(tau=2)``."""

from __future__ import annotations

from fogline.factories import Factory
from fogline.simulation.attacks.base import Attack, Collusion


def _check(kind: type[Attack]) -> None:
    silent = issubclass(kind, Collusion) and kind.together is Collusion.together and kind.forge is Collusion.forge
    if not (kind.poisons or kind.forges) or silent:
        raise ValueError(
            f"{kind.__name__} changes nothing; write: def forge(self, own, view, rng), or: def poison(self, examples, "
            "classes, rng)"
        )


ATTACKS = Factory("attack", "fogline.simulation.attacks", Attack, first="sign_flip", check=_check)
"""Fogline's attacks."""
