"""Devices that come late, or never."""

from __future__ import annotations

from typing import Any

import pytest

from fogline.jobs import Job, Tier, Tree
from fogline.simulation.result import Result
from fogline.simulation.run import run
from tests.toy import ToyTask


def run_toy(tree: Tree, devices: dict[str, Any], rounds: int = 12, **changes: Any) -> Result:
    """Twelve devices, in this process."""
    settings = {"rounds": rounds, "processes": 0, "engine": "loop", "chunk": 4, "devices": devices}
    return run(Job.model_validate({"tree": tree, **settings, **changes}), ToyTask(), progress=False)


@pytest.mark.parametrize("late", ["drop", "fold"])
def test_a_model_that_was_sent_arrives_though_the_cloud_has_forgotten_it(late: str) -> None:
    """A fog that merges hands the cloud's model on; on a slow link that takes longer than rounds do."""
    tree = Tree(cloud=Tier(quorum=1), fog=Tier(count=2, deadline=2.0, quorum=0.3, late=late))
    result = run_toy(tree, {"down": {"choice": [1e6, 1e6, 1e6, 8.0]}})
    assert "failed" not in result.counts
    if late == "fold":
        assert result.counts == {}
    else:
        assert result.counts["late"] > 10
        assert result.reasons["late"].endswith(": its round was over")
