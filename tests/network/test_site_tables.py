"""A device whose task gets an altered copy of the site's table, made before its code is loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.client import bundle_of
from tests.network.cluster import HERE, cluster
from tests.patience import PATIENCE

JOB = """
name = "patients"
task = "tabular:task"
rounds = 1
[task_parameters]
patients = "{mock}"
[publish]
at_least = 2
[tree.cloud]
"""
POLICY = """
[table.patients]
file = "{file}"
[table.patients.columns]
age = "round(10)"
name = "hash"
"""


def test_a_task_gets_the_copy_and_the_cloud_the_made_up_table(tmp_path: Path) -> None:
    raw, trace, mock = (tmp_path / name for name in ("raw.csv", "trace", "mock.csv"))
    raw.write_text("name,age,postcode\nAnn Lee,47,11503\nBob,33,11601\n")
    mock.write_text("age,name\n20,ab\n")

    async def work() -> None:
        async with cluster(tmp_path / "fleet", fogs=0, devices=1) as made:
            place = made.folder / "client-0"
            policy = place / "policy.toml"
            policy.write_text(policy.read_text() + POLICY.format(file=raw))
            made.members["client-0"].node.site.parameters["trace"] = str(trace)
            key = SigningKey.load(made.folder / "cloud" / "operator" / "developer.key")
            text = JOB.format(mock=mock)
            bundle = bundle_of(text, HERE, [HERE / "tabular.py"], key)
            record = await made.finish(await made.client.submit(text, bundle, wait=PATIENCE))
            assert (record.state, record.done) == ("finished", 1), record.why
            path, header, *rows = trace.read_text().splitlines()
            assert Path(path) == (place / "views" / record.job / "patients.csv").resolve()
            assert header == "age,name"
            assert [row.partition(",")[0] for row in rows] == ["40", "30"]
            assert not any(value in str(rows) for value in ("Ann", "Bob", "11503"))
        assert not (place / "views" / record.job).exists()

    asyncio.run(work())
