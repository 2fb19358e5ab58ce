"""The examples that are programs: they run, they do what they say, and they stay short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.patience import PATIENCE

pytest.importorskip("torch")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def python(*arguments: str, folder: Path = ROOT) -> str:
    """Run a program as a user would; its output."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "limit"), [("own_method", 60), ("own_model_and_data", 40), ("fine_tuning", 70)])
def test_programs_stay_short(name: str, limit: int) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < limit


@pytest.mark.slow
def test_own_method_learns_and_is_not_fedavg() -> None:
    lines = python("examples/own_method.py", "--rounds", "8").splitlines()
    accuracy = {line.split()[0]: float(line.split()[2]) for line in lines}
    assert set(accuracy) == {"FedAvg", "Agreement"}
    assert min(accuracy.values()) > 0.5
    assert accuracy["FedAvg"] != accuracy["Agreement"]


def test_own_method_moves_agreed_coordinates_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from own_method import Agreement  # type: ignore[import-not-found]

    from fogline.aggregation import Update, fold_named
    from fogline.algorithms.base import AggregatorContext
    from fogline.training import Plan

    method, fold = Agreement(floor=0.3, rate=1.0), fold_named(False)
    start = np.zeros(2, np.float32)
    for end in ([1.0, 3.0], [1.0, -1.0]):
        report = method.report(
            SimpleNamespace(start=start, end=np.array(end, np.float32), local={}, plan=Plan(1, 10, 0.1))
        )
        vectors = {name: term.vector for name, term in report.terms.items()}
        fold.take(Update(vectors, {name: term.weight for name, term in report.terms.items()}), 1.0)
    model, _ = method.server_update(start, fold.finish(), {}, AggregatorContext(2, 0))
    assert model == pytest.approx([1.0, 0.3])


@pytest.mark.slow
def test_own_model_learns_the_pumps_and_judges_held_out_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import own_model_and_data  # type: ignore[import-not-found]

    result = own_model_and_data.run(rounds=8)
    targets = np.concatenate([own_model_and_data.pump(i).y for i in (3, 8)])
    assert result.held_out["rmse"] < 0.6 * targets.std()
    assert result.devices is not None
    assert result.devices.count == 12


@pytest.mark.slow
def test_the_readme_program_runs_as_it_stands(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(program.strip().splitlines()) <= 20
    (translated,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.zh-Hant.md").read_text(), re.DOTALL)
    assert _code(translated) == _code(program)
    (tmp_path / "program.py").write_text(program)
    output = python("program.py", folder=tmp_path)
    assert "accuracy" in output


def _code(program: str) -> str:
    return re.sub(r"  #.*", "", program)


@pytest.mark.slow
def test_fine_tuning_sends_the_body_once() -> None:
    lines = [list(map(float, re.findall(r"[\d.]+", line))) for line in python("examples/fine_tuning.py").splitlines()]
    (down, up, once, *_), (down_frozen, up_frozen, once_frozen, *_) = lines
    assert once == 0.0
    assert down - down_frozen == pytest.approx(once_frozen, rel=0.01)
    assert up_frozen < 0.02 * up


def test_own_pictures_are_read_from_a_folder_for_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import own_pictures  # type: ignore[import-not-found]

    for name, grey in (("dark", 20), ("light", 220)):
        (tmp_path / name).mkdir()
        for number in range(10):
            image.new("RGB", (30, 40), (grey + number,) * 3).save(tmp_path / name / f"{number}.png")
    task = own_pictures.task(folder=str(tmp_path), size=8, clients=2, alpha=100.0)
    held = [task.data.at(place) for place in range(2)]
    assert task.data.meaning.class_names == ("dark", "light")
    assert [examples.array.shape[1:] for examples in held] == [(1, 8, 8)] * 2
    assert sum(examples.count for examples in held) == 16
    assert all((examples.array.mean((1, 2, 3)) > 0).astype(int).tolist() == examples.y.tolist() for examples in held)
    with pytest.raises(ValueError, match="no pictures in folders"):
        own_pictures.task(folder=str(tmp_path / "dark"))
    with pytest.raises(ValueError, match="no pictures in folders"):
        own_pictures.task(folder=str(tmp_path / "nowhere"))
