"""How updates become one: weighted sums that stream, merge, and give means."""

from fogline.aggregation.exact import ExactFold
from fogline.aggregation.fold import Fold
from fogline.aggregation.look import surely_fit
from fogline.aggregation.mean import MeanFold
from fogline.aggregation.sweep import bound
from fogline.aggregation.update import (
    NO_COUNTERS,
    Arrays,
    Folded,
    Partial,
    Sum,
    UnusableRoundError,
    UnusableUpdateError,
    Update,
    from_arrays,
    weight_from_arrays,
    weights_to_arrays,
)
from fogline.aggregation.weights import Weight, divided, fault, is_per_number
from fogline.attributes import describe_attributes


def fold_named(exact: bool) -> Fold:
    """A new fold: the exact one, or the ordinary one."""
    return ExactFold() if exact else MeanFold()


__all__ = [
    "NO_COUNTERS",
    "Arrays",
    "ExactFold",
    "Fold",
    "Folded",
    "MeanFold",
    "Partial",
    "Sum",
    "UnusableRoundError",
    "UnusableUpdateError",
    "Update",
    "Weight",
    "bound",
    "divided",
    "fault",
    "fold_named",
    "from_arrays",
    "is_per_number",
    "surely_fit",
    "weight_from_arrays",
    "weights_to_arrays",
]

describe_attributes(__name__)
