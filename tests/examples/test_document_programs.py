"""What the documents show to write: TOML is read, and rules, stages, attacks and so on run as they stand."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from torch import nn

import fogline
from fogline import Task, Tier, Tree
from fogline.audit.registry import ATTACKS
from fogline.compute.surveys.queries import QUERIES
from fogline.dashboard.sign_in.settings import FILE, read_settings
from fogline.data import from_arrays
from fogline.governance.policy.keys import parse_policy
from fogline.jobs.files.reading import parse_job
from fogline.jobs.loading import load_task
from fogline.lab.labfile import read_lab
from fogline.simulation.run import run

DOCS = Path(__file__).parents[2] / "docs"
KEY = "ed25519:kyqkTAZEc168P+haiacYM9VjfA2oweJW0IUzsI6nIOs="
"""In place of the dots where a document leaves a key out."""


def blocks(kind: str, document: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", (DOCS / document).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_piece_of_toml_says_something(document: str, tmp_path: Path) -> None:
    for text in blocks("toml", document):
        tables = tomllib.loads(text)
        if "nodes" in tables:
            read_lab(tables)
        elif "signer" in tables:
            assert parse_policy(text.replace("ed25519:...", KEY)).allowed
        elif "retention" in tables:
            assert parse_policy(text).retention.jobs
        elif "provider" in tables:
            (tmp_path / FILE).write_text(text)
            assert read_settings(tmp_path).allow
        else:
            parse_job(text if "task" in tables else f'task = "demo:task"\n{text}')


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports what the programs of a document define; what they add to a registry is gone afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (ATTACKS, QUERIES):
        monkeypatch.setattr(registry, "_plugins", dict(vars(registry)["_plugins"]))

    def read(document: str) -> ModuleType:
        name = f"written_in_{document.removesuffix('.md')}"
        (tmp_path / f"{name}.py").write_text("".join(blocks("python", document)))
        return import_module(name)

    return read


def task() -> Task:
    rng, rows = np.random.default_rng(0), [np.arange(20 * i, 20 * i + 20) for i in range(5)]
    x, y = rng.normal(size=(100, 4)).astype(np.float32), rng.integers(0, 3, 100)
    return Task(lambda: nn.Linear(4, 3), from_arrays("some", x, y, rows, classes=3, test=(x, y)))


def test_rules_stages_attacks_and_queries_of_ones_own_run(written: Callable[[str], ModuleType]) -> None:
    written("evaluation.md")
    rules, shares, backwards = written("rules.md"), written("stages.md").Shares, written("robustness.md").Backwards
    for rule in (rules.Nearest(count=3), rules.Shortest(f=1)):
        result = fogline.simulate(
            task(),
            tree=Tree(cloud=Tier(rule=rule, uplink=[shares()])),
            attack=backwards(by=4.0),
            queries=["long_texts(words=1)"],
            rounds=2,
            engine="loop",
            processes=0,
            progress=False,
        )
        assert np.isfinite(result.params.vector).all()
        assert result.queries["long_texts(words=1)"]["count"] == 100
        assert len(result.malicious) == 1


def test_the_callback_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks("python", "comparing.md")
    names: dict[str, Any] = {"fogline": fogline, "task": task()}
    exec(program.replace("rounds=100", "rounds=2, processes=0, progress=False"), names)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    assert names["watch"]({"round": 3, "accuracy": 0.96}, task().initial(0), {}) is fogline.STOP


def test_an_attack_of_ones_own_is_a_finding(written: Callable[[str], ModuleType]) -> None:
    view = SimpleNamespace(place="cloud", movement=np.array([3.0, 4.0]), members=("a", "b"))
    (found,) = written("leaks.md").length(SimpleNamespace(seen=lambda: [(8, None, view)]))
    assert (found.words, found.devices) == ("A length of 5.00.", 2)
    assert "length" in ATTACKS


@pytest.mark.slow
def test_a_flower_client_runs_as_the_document_has_it(tmp_path: Path) -> None:
    pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fogline[flwr]' (docs/from-flower.md)")
    for text in blocks("python", "from-flower.md"):
        (tmp_path / text.splitlines()[0].removeprefix("# ").split(",")[0]).write_text(text)
    (described,) = blocks("toml", "from-flower.md")
    job = parse_job(described).model_copy(update={"rounds": 3, "processes": 0})
    result = run(job, load_task(job, tmp_path), progress=False)
    assert [row["devices"] for row in result.history] == [10] * 3
    assert result.history[2]["eval_acc"] > result.history[0]["eval_acc"]
    assert result.history[2]["metric/train_loss"] < result.history[0]["metric/train_loss"]
    assert "0.weight" in result.params.arrays()
