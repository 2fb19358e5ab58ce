"""A Flower client on real nodes: the bits of a simulation, which are those of Flower's strategy (tests/training)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.network.commands import ROOT, Terminal

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fogline[flwr]' (docs/from-flower.md)")

TASKS = """
from client_app import Net, app

from fogline.training.flwr import FlowerTask


def task(clients: int) -> FlowerTask:
    more = {"run_config": {"local-epochs": 2}, "train_config": {"lr": 0.1}}
    return FlowerTask(app, clients, initial=Net, headline="eval_loss", **more)
"""
JOB = """
task = "tasks:task"
rounds = 3
[evaluation]
where = "devices"
[tree.cloud]
[tree.fog]
count = 2
"""


@pytest.mark.slow
def test_real_nodes_give_the_model_of_the_simulation_to_the_bit(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    shutil.copy(ROOT / "tests" / "training" / "flower_clients.py", tmp_path / "client_app.py")
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "flower.toml").write_text(JOB)
    done = terminal.run("up", "flower.toml", "--fogs", "2", "--devices", "3")
    assert done.returncode == 0, done.stderr
    assert "not published: A FlowerTask cannot be packaged" in done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert f"fogline simulate runs/{run.name}/job.toml --engine loop" in done.stdout
    shown = terminal.ok("simulate", f"runs/{run.name}/job.toml", "--engine", "loop", "--folder", "simulated")
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "simulated" / "model.safetensors").read_bytes()
    for text in (done.stdout, shown):
        assert "Reports say         train_loss" in text
        assert "3 devices" in text
    assert terminal.left() == []
