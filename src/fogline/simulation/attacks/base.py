"""An attack: what malicious nodes train on, and what they send in place of what they have found.

One that lies about the data overrides :meth:`Attack.poison`, one that lies about the result :meth:`Attack.forge`::

    @ATTACKS.add("backwards")
    class Backwards(Attack):
        \"\"\"Sends the opposite of what it has found.\"\"\"

        def forge(self, own, view, rng):
            return -own

It may do both. Parameters of an attack are annotated fields: a subclass becomes a frozen dataclass by itself.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.data import Examples
from fogline.parameters import Parametrised
from fogline.params import Vector
from fogline.simulation.attacks.view import RoundView


class Attack(Parametrised):
    """What malicious nodes do; as it stands, nothing."""

    poisons: ClassVar[bool] = False
    """Whether it changes the data of malicious devices: set by itself where ``poison`` is overridden."""
    forges: ClassVar[bool] = False
    """Whether it changes what malicious nodes send: set by itself where ``forge`` is overridden."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.poisons = cls.poison is not Attack.poison
        cls.forges = cls.forge is not Attack.forge

    def poison(self, examples: Examples, classes: int, rng: np.random.Generator) -> Examples:
        """What a malicious device trains on in place of its examples. It is asked each time they are loaded.

        Args:
            examples: the device's; not its own to change.
            classes: of the task.
            rng: the same one of a device each time.

        Raises:
            ValueError: data of that kind cannot be changed so; one sentence.
        """
        return examples

    def triggered(self, examples: Examples, classes: int) -> Examples | None:
        """Of test examples, those that show whether the attack succeeds, with the labels that it wants; None where
        accuracy says enough."""
        return None

    def forge(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        """What a malicious node sends under a name.

        Args:
            own: (numbers,) what it would send if it were honest.
            view: what it knows of the others.
            rng: of the node, for this round and name.

        Returns:
            (numbers,)
        """
        return own


class Collusion(Attack):
    """An attack in which all malicious nodes send the same."""

    def forge(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        return view.agreed(lambda: self.together(view))

    def together(self, view: RoundView) -> Vector:
        """(numbers,) what all malicious nodes send under a name."""
        raise NotImplementedError(f"{type(self).__name__} must say what all send: def together(self, view)")
