"""How much a device trains in a round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from fogline.training.shuffling import cuts


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a device trains in a round; what a method's ``work`` changes by :meth:`replace`."""

    steps: int
    """Minibatch steps."""
    samples: int
    """Examples on the device: the usual weight of its update."""
    learning_rate: float
    batch_size: int | None = None
    """Examples in a step; None takes all at once."""
    smallest_batch: int = 1
    """A last batch of an epoch with fewer examples joins the one before it."""

    @property
    def epochs(self) -> float:
        """Passes over the device's examples."""
        return self.steps / self._per_epoch

    @property
    def _per_epoch(self) -> int:
        return len(cuts(self.samples, self.batch_size, self.smallest_batch))

    def replace(
        self,
        *,
        steps: int | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
    ) -> Plan:
        """The same with something else; what is left out stays, the number of steps too.

        ``epochs``: in place of steps, that many passes in batches of the new plan; at least one step.

        Raises:
            ValueError: steps and epochs are both given, or something is not above 0.
            TypeError: something is no number.
        """
        if steps is not None and epochs is not None:
            raise ValueError("a plan is given steps and epochs; give one of the two")
        named = {"steps": steps, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
        for name, value in named.items():
            if value is not None and not isinstance(value, Real):
                raise TypeError(f"a plan is given {name}={value!r}; it must be a number")
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"a plan is given {name}={value}; it must be above 0, and finite")
        for name, value in (("steps", steps), ("batch_size", batch_size)):
            if value is not None and value != int(value):
                raise ValueError(f"a plan is given {name}={value}; it must be a whole number")
        changed = replace(
            self,
            steps=self.steps if steps is None else int(steps),
            batch_size=self.batch_size if batch_size is None else int(batch_size),
            learning_rate=self.learning_rate if learning_rate is None else float(learning_rate),
        )
        return changed if epochs is None else replace(changed, steps=max(1, round(changed._per_epoch * epochs)))


class UnseenPlan:
    """What is known of how much a device trained that trains by code of its own.

    Args:
        samples: examples that it used; None: it has not trained yet.
    """

    def __init__(self, samples: int | None) -> None:
        if samples is not None:
            self.samples = samples

    def __getattr__(self, name: str) -> Any:
        """What else a plan has is not known.

        Raises:
            AttributeError: always; the sentence says what there is.
        """
        raise AttributeError(
            f"device.plan.{name} is not there: the device trains by code of its own, of which only samples are known, "
            "in report"
        )
