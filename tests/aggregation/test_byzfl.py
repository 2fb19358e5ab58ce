"""Our rules give what those of ByzFL do. Skipped where that is not installed: ``pip install --no-deps byzfl``."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.byzantine.pairs import PAIRS
from benchmarks.byzantine.run_byzfl import byzfl_rules
from fogline.aggregation import Update
from fogline.aggregation.rules import make_rule


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
def test_a_rule_agrees_with_byzfl(name: str, spread: float) -> None:
    if find_spec("byzfl") is None:
        pytest.skip("ByzFL is not installed")
    byzfl = byzfl_rules()
    rules, calls = PAIRS[name]
    rng = np.random.default_rng(len(name))
    table = (rng.normal(size=3000) + spread * rng.normal(size=(20, 3000))).astype(np.float32)
    table[:4] *= -3.0
    theirs = table.astype(np.float64)
    for kind, parameters in calls:
        theirs = getattr(byzfl, kind)(**parameters)(theirs)
    fold = make_rule(rules).fold()
    for row in table:
        fold.add(Update({"p": row}, {"p": 1.0}))
    np.testing.assert_allclose(fold.finish().mean("p"), theirs, atol=1e-5, rtol=1e-5)
