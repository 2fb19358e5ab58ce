"""Every job under ``examples`` runs: one round of each, as the command does it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from fogline.cli import main
from fogline.data.loaders.folder import find_root
from fogline.jobs.reading import read_job

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NEEDS = {
    "activity": "uci_har",
    "adult": "adult",
    "bearings": "cwru",
    "credit": "fate_examples",
    "demo": None,
    "demo-up": None,
    "eight-bits": None,
    "energy": "citylearn2022",
    "failures": "ai4i2020",
    "images": "mnist",
    "lora": None,
    "own_pictures": None,
    "personal": None,
    "steel": "neu_det",
    "steel_energy": "steel_energy",
    "text": "shakespeare",
    "tiles": "magnetic_tile",
    "tumours": "fate_examples",
    "turbofan": "cmapss",
}
"""The data set of each job; the demo falls back on the digits of scikit-learn, and so on."""


@pytest.fixture(autouse=True)
def _as_the_command_sees_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the root of the repository; the tasks' modules are forgotten afterwards."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in NEEDS:
        sys.modules.pop(name, None)


def simulate(job: Path, folder: Path, *more: str) -> dict[str, Any]:
    """Run the command, in this process; what it left in the run's folder."""
    main(["simulate", str(job), "--folder", str(folder), "--quiet", "--debug", *more])
    return json.loads((folder / "result.json").read_text())


def test_every_job_is_known_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == set(NEEDS)


@pytest.mark.slow
@pytest.mark.usefixtures("unplotted")
@pytest.mark.parametrize("name", sorted(NEEDS))
def test_one_round(name: str, tmp_path: Path) -> None:
    needed = NEEDS[name]
    if needed is not None and not (find_root() / needed).is_dir():
        pytest.skip(f"the data set {needed} is not on this machine; set FOGLINE_DATA")
    result = simulate(EXAMPLES / f"{name}.toml", tmp_path / "run", "--set", "rounds=1", "--set", "evaluation.every=1")
    assert result["metrics"], "a job must be judged on a test set"
    assert not result["reasons"].keys() - {"surplus"}, "no device may fail"


@pytest.mark.slow
def test_the_demo_needs_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_DATA", str(tmp_path))
    result = simulate(EXAMPLES / "demo.toml", tmp_path / "run", "--set", "rounds=6")
    metrics = result["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["accuracy"] > 0.8


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_every_wait_of_a_job_with_drop_outs_has_a_deadline(name: str) -> None:
    job = read_job(EXAMPLES / f"{name}.toml")
    if job.devices.get("preset", "equal") != "equal":
        lowest = job.tree.tiers[job.tree.names[-1]]
        assert lowest.deadline is not None
