"""Whether two results are the same up to rounding, where their squares are no float32 any more."""

from __future__ import annotations

import numpy as np
import pytest

from fogline.params import Entry, Spec
from fogline.training.choosing.comparison import Pair
from fogline.training.local import ClientJob, LocalResult

SPEC = Spec.of([Entry("weight", (3,), "float32")])
NONE = np.zeros(0, np.int64)


def trained(size: float) -> LocalResult:
    return LocalResult(0, np.full(3, size, np.float32), NONE, 5, 1, 1.0, 1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("theirs", "same"), [(1e25, True), (2e25, False)])
def test_huge_movements_are_compared_too(theirs: float, same: bool) -> None:
    job = ClientJob(0, np.zeros(3, np.float32), NONE, 1, 0.1, 0)
    found = Pair(SPEC, job, trained(1e25), trained(theirs), lambda: None).difference()
    assert (found is None) == same
