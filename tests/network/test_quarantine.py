"""A cloud that dies where it judges its children forgets nobody whom it does not ask any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.monitoring.run_files import load_run
from tests.network.cluster import HERE
from tests.network.processes import fleet
from tests.network.test_jobs import QUARANTINE
from tests.network.test_kills import killed_until_done

pytestmark = pytest.mark.slow
RECORDS = ("Rated",)
"""At which it dies, one after the other."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_cloud_that_dies_as_it_judges_cuts_off_whom_it_would_have(
    after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)

    async def work() -> None:
        async with fleet(tmp_path, fogs=0, devices=4) as made:
            await killed_until_done(made, "cloud", after, QUARANTINE, RECORDS)

    asyncio.run(work())
    (run,) = (tmp_path / "cloud" / "runs").iterdir()
    assert load_run(run).cut_off.keys() == {"client-1"}
