"""A job over bad links, in network namespaces: a fog behind 64 kbit/s, and one behind a link that loses every
twentieth packet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common import ROOT
from benchmarks.network.synthetic import step
from benchmarks.network.tree import TASK, Tree
from fogline.governance.signatures.signing import SigningKey
from fogline.lab import Lab, why_not
from fogline.network.cloud.client import bundle_of
from fogline.network.cloud.folder import OPERATOR, SIGNING
from fogline.params import load
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=why_not() or "")]
LINKS = {
    "64 kbit/s": {"rate": "64kbit", "delay": "50ms"},
    "5 % loss": {"rate": "20Mbit", "delay": "20ms", "loss": 0.05},
}
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
ROUNDS, SIZE = 2, 9000
JOB = f"""
name = "links"
task = "synthetic:task"
rounds = {ROUNDS}
[task_parameters]
size = {SIZE}
clients = 2
[tree.cloud]
quorum = 1.0
[tree.fog]
quorum = 1.0
"""


@pytest.mark.parametrize("link", LINKS)
def test_a_job_ends_as_it_would_on_a_good_link(link: str, tmp_path: Path) -> None:
    nodes = {"cloud": "", "fog": "cloud", "dev-0": "fog", "dev-1": "fog"}
    made = Tree(tmp_path)
    with Lab({"nodes": nodes, "links": {"default": {"preset": "wifi"}, "fog": LINKS[link]}}) as lab:

        def spawn(label: str, command: list[str]) -> subprocess.Popen[str]:
            return lab.spawn(label, command, env={**os.environ, "FOGLINE_BENCHMARK_HOST": lab.address(label)}, **PIPES)

        made.spawn = spawn
        try:
            address = made.start_cloud()
            fog = made.start("fog", "fog", str(made.member("fog", "fog")), f"cloud@{address}")
            for name in ("dev-0", "dev-1"):
                made.start(name, "device", str(made.member(name, "device")), f"fog@{fog['address']}")
            key = SigningKey.load(tmp_path / "cloud" / OPERATOR / SIGNING)
            bundle = bundle_of(JOB, TASK.parent, [TASK], key).hex()
            submitter = lab.spawn("cloud", [sys.executable, "-m", "benchmarks.wan.submit", str(tmp_path)], **PIPES)
            facts = {"address": address, "text": JOB, "bundle": bundle, "wait": 60.0}
            said, _ = submitter.communicate(json.dumps(facts) + "\n", timeout=PATIENCE)
            counters = lab.counters()["fog"]
        finally:
            made.close()
    rows = [row for row in map(json.loads, said.splitlines()) if "round" in row]
    assert [row["round"] for row in rows] == [1, 2]
    (run,) = (tmp_path / "cloud" / "runs").iterdir()
    expected = ROUNDS * (step(0, SIZE) + step(1, SIZE)) / 2
    np.testing.assert_allclose(load(run / "model.safetensors").vector, expected, rtol=1e-5)
    assert counters["up"].bytes > ROUNDS * SIZE * 4
    assert counters["up"].lost + counters["down"].lost > 0 or link == "64 kbit/s"
