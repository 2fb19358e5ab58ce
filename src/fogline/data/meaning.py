"""What the numbers in ``y`` stand for."""

from __future__ import annotations

from dataclasses import dataclass

UNTOLD = (-100, 255)
"""Labels that may mark a target without a truth: PyTorch's, and that of pictures of labels. Whether they do is for the
loss to say."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the numbers in ``y`` stand for.

    ``classes`` is their number, None for regression. ``class_names`` are the classes' names (the characters
    of a text). ``ignored`` is a label outside 0..classes-1 that marks a target without a truth, where it is neither
    -100 nor 255. A target is ``y * target_scale + target_offset`` in ``target_unit``, so an error in ``y`` times
    ``target_scale`` is an error in that unit.
    """

    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    target_scale: float = 1.0
    target_offset: float = 0.0
    target_unit: str = ""
    ignored: int | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 2:
            raise ValueError(f"There must be at least two classes, not {self.classes}; regression has None.")
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise ValueError(f"{len(self.class_names)} class names do not fit {self.classes} classes.")

    @property
    def untold(self) -> tuple[int, ...]:
        """Labels that may mark a target without a truth."""
        return UNTOLD if self.ignored is None else (*UNTOLD, self.ignored)
