"""Runs side by side: what is one line, what sets lines apart, and the figures of each."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from fogline.cli import main
from fogline.jobs import Evaluation, Job, JobError, Local, Method, Tier, Tree
from fogline.jobs.job import FineTune
from fogline.monitoring.comparison import compared, curve, groups_of
from fogline.monitoring.comparison_plot import comparison_figure
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.plots import png
from fogline.monitoring.result import Baseline, Result
from tests.cli.conftest import history

EVERY_ROUND = 4.4e5 + 4.1e5 + 8.8e6 + 7.9e6
"""Bytes of a round of those histories, on both tiers' links."""


def run(result: Result, seed: int, method: str = "fedprox", rate: float = 0.1, pooled: float | None = None) -> Result:
    """The run of a seed, with a history of its own."""
    job = result.job.model_copy(
        update={"seed": seed, "algorithm": Method(name=method), "local": Local(learning_rate=rate), "processes": seed}
    )
    rows = history(seed=seed)
    baselines = {} if pooled is None else {"pooled": Baseline("pooled", 100, 40, {"accuracy": pooled})}
    metrics = {"accuracy": rows[-1]["accuracy"], "loss": 0.3}
    return Result(job, "accuracy", result.params, rows, metrics, baselines=baselines, units={}, folder=None)


@pytest.fixture
def kept(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_plots: None) -> list[Path]:
    """Folders of three seeds of one method and one of another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    paths: list[Path] = []
    runs = [run(result, seed, pooled=0.95 + seed / 100) for seed in (1, 2, 3)]
    for i, one in enumerate([*runs, run(result, 1, "scaffold")]):
        paths.append(keep(tmp_path / f"run-{i}", one))
    return paths


def keep(path: Path, one: Result) -> Path:
    """A finished run's folder."""
    folder = RunFolder.create(path, one.job)
    for row in one.history:
        folder.append(row)
    for baseline in one.baselines.values():
        folder.keep_baseline(baseline)
    return folder.finish(one)


def compare(*arguments: Any) -> None:
    main(["compare", *map(str, arguments)])


def test_runs_that_differ_in_their_seed_are_one_line(kept: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    finals = [100 * history(seed=seed)[-1]["accuracy"] for seed in (1, 2, 3)]
    compare(*kept, kept[0], "--no-plot")
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if line.startswith("1"))
    assert first.split()[:3] == ["1", "fedprox", "1–3"]
    assert f"{statistics.mean(finals):.2f} ± {statistics.stdev(finals):.2f}" in first
    assert "97.00 ± 1.00" in first
    assert "rounds done" in lines[0]
    assert f"{40 * EVERY_ROUND / 1e6:.0f} MB" in first
    second = next(line for line in lines if line.startswith("2"))
    assert second.split()[:3] == ["2", "scaffold", "1"]
    assert "–" in second
    assert "one sample standard deviation over the seeds" in lines[-1]
    assert not Path("comparison.png").exists()


def test_what_differs_is_a_column_and_nothing_else(result: Result) -> None:
    runs = [run(result, 0), run(result, 0, rate=0.2), run(result, 1, rate=0.2)]
    groups = groups_of([compared(one, str(i)) for i, one in enumerate(runs)])
    assert [group.settings for group in groups] == [{"local.learning_rate": 0.1}, {"local.learning_rate": 0.2}]
    assert [[one.folder for one in group.runs] for group in groups] == [["0"], ["1", "2"]]
    assert [group.label for group in groups] == ["1 learning_rate 0.1", "2 learning_rate 0.2"]
    rounds, means = curve(groups[1], "accuracy")
    assert rounds == list(range(2, 41, 2))
    both = [runs[1].history[3]["accuracy"], runs[2].history[3]["accuracy"]]
    assert means[1].mean == pytest.approx(statistics.mean(both))
    assert means[1].deviation == pytest.approx(statistics.stdev(both))


def test_a_method_without_parameters_has_no_column_of_none(result: Result) -> None:
    runs = [run(result, 0), run(result, 0)]
    methods = Method(name="fedavg"), Method(name="fedprox", parameters={"mu": 0.1})
    for one, method in zip(runs, methods, strict=True):
        one.job = one.job.model_copy(update={"algorithm": method})
    groups = groups_of([compared(one, str(i)) for i, one in enumerate(runs)])
    assert [group.settings for group in groups] == [
        {"algorithm": "fedavg", "algorithm.parameters.mu": None},
        {"algorithm": "fedprox", "algorithm.parameters.mu": 0.1},
    ]
    assert [group.label for group in groups] == ["1 fedavg", "2 fedprox, mu 0.1"]


def test_a_baseline_of_some_runs_says_of_how_many(
    kept: list[Path], result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fourth = keep(tmp_path / "fourth", run(result, 4))
    compare(*kept[:3], fourth, "--no-plot")
    assert "97.00 ± 1.00 (3 of 4)" in capsys.readouterr().out


def test_a_star_and_a_tree_differ_in_what_was_set(result: Result) -> None:
    runs = [run(result, 1), run(result, 1)]
    trees = Tree(cloud=Tier()), Tree(cloud=Tier(), fog=Tier(count=2, rounds=3))
    for one, tree in zip(runs, trees, strict=True):
        one.job = one.job.model_copy(update={"tree": tree})
    groups = groups_of([compared(one, str(i)) for i, one in enumerate(runs)])
    assert [group.settings for group in groups] == [
        {"tree.fog.count": None, "tree.fog.rounds": None},
        {"tree.fog.count": 2, "tree.fog.rounds": 3},
    ]


def test_a_target_in_percent_is_refused(kept: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare(*kept, "--target", 90, "--no-plot")
    assert "The target is 90, but accuracy goes from 0 to 1; 90 % is 0.9" in capsys.readouterr().err


def test_a_target_of_ones_own_counts_for_all(kept: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    compare(*kept, "--json", "--target", 0.8)
    facts = json.loads(capsys.readouterr().out)
    rounds = [next(row["round"] for row in history(seed=s) if row.get("accuracy", 0) >= 0.8) for s in (1, 2, 3)]
    assert facts[0]["reached"]["round"]["mean"] == pytest.approx(statistics.mean(rounds))
    assert facts[0]["seeds"] == [1, 2, 3]
    assert facts[0]["baselines"]["pooled"]["mean"] == pytest.approx(0.97)
    assert facts[1]["settings"] == {"algorithm": "scaffold"}
    assert facts[1]["baselines"]["pooled"] is None
    compare(*kept, "--no-plot", "--target", 0.99)
    assert "not reached" in capsys.readouterr().out


def test_the_plot_shows_a_curve_a_group(kept: list[Path], result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    compare(*kept, "--plot", "side.png")
    assert "Plot: side.png" in capsys.readouterr().out
    assert Path("side.png").read_bytes().startswith(b"\x89PNG")
    runs = [run(result, 1), run(result, 2), run(result, 1, "scaffold", pooled=0.9)]
    groups = groups_of([compared(one, str(i)) for i, one in enumerate(runs)])
    rounds, sent, final = comparison_figure(groups).axes
    assert [line.get_label() for line in rounds.lines] == ["1 fedprox", "2 scaffold"]
    at = [100 * statistics.mean([runs[0].history[1]["accuracy"], runs[1].history[1]["accuracy"]])]
    assert rounds.lines[0].get_ydata()[0] == pytest.approx(at[0])
    assert sent.lines[0].get_xdata()[0] == pytest.approx(2 * EVERY_ROUND / 1e6)
    assert [text.get_text() for text in final.get_yticklabels()] == ["1", "2"]  # The legend has the rest.
    assert png(comparison_figure(groups)).startswith(b"\x89PNG")


@pytest.mark.parametrize(("file", "begins"), [("side.SVG", b"<?xml"), ("side.pdf", b"%PDF")])
def test_the_ending_says_in_what_form_a_plot_is_written(kept: list[Path], file: str, begins: bytes) -> None:
    compare(*kept, "--plot", file)
    assert Path(file).read_bytes().startswith(begins)


@pytest.mark.parametrize(("file", "has"), [("side.abc", "ends in '.abc'"), ("side", "has no ending")])
def test_a_plot_of_an_unknown_form_is_refused(
    kept: list[Path], capsys: pytest.CaptureFixture[str], file: str, has: str
) -> None:
    with pytest.raises(SystemExit):
        compare(*kept, "--plot", file)
    assert f"--plot: {file} {has}; name a file that ends in .png, .pdf or .svg" in capsys.readouterr().err
    assert not Path(file).exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("unfinished", "is running after 40 rounds and has no result yet; go on with: fogline simulate --resume"),
        ("format", "has format 2; this version of Fogline reads 1"),
        ("missing", "There is no run in"),
    ],
)
def test_a_run_that_cannot_be_compared_is_one_sentence(
    kept: list[Path], capsys: pytest.CaptureFixture[str], spoil: str, words: str
) -> None:
    info = kept[1] / "run.json"
    facts = json.loads(info.read_text())
    if spoil == "missing":
        info.unlink()
    else:
        info.write_text(json.dumps(facts | {"unfinished": {"status": "running"}, "format": {"format": 2}}[spoil]))
    with pytest.raises(SystemExit) as ended:
        compare(*kept)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in error
    assert len(error.splitlines()) == 1


def test_what_makes_no_sense_together_is_refused(result: Result) -> None:
    first, again = run(result, 1), run(result, 1)
    with pytest.raises(JobError, match=r"^a and b are the same job with the same seed 1; name one of them$"):
        groups_of([compared(first, "a"), compared(again, "b")])
    again.headline, again.metrics = "loss", {"loss": 0.3}
    with pytest.raises(JobError, match=r"judged by different metrics .*: a by accuracy, b by loss"):
        groups_of([compared(first, "a"), compared(again, "b")])


def test_runs_that_stop_by_themselves_are_other_experiments(result: Result) -> None:
    patient = run(result, 1)
    evaluation = patient.job.evaluation.model_copy(update={"patience": 3})
    patient.job = patient.job.model_copy(update={"evaluation": evaluation, "seed": 2})
    groups = groups_of([compared(run(result, 1), "a"), compared(patient, "b")])
    assert [group.settings.get("evaluation.patience") for group in groups] == [None, 3]


@pytest.mark.parametrize(
    "judged",
    [{"where": "devices"}, {"where": "devices", "share": 0.5}, {"where": "devices", "fine_tune": FineTune(epochs=2)}],
)
def test_figures_of_other_examples_or_other_models_are_no_seeds_of_one_line(result: Result, judged: Any) -> None:
    devices = [run(result, seed) for seed in (1, 2)]
    for one, settings in zip(devices, ({} if len(judged) == 1 else {"where": "devices"}, judged), strict=True):
        one.job = one.job.model_copy(update={"evaluation": Evaluation(**settings)})
    groups = groups_of([compared(one, str(i)) for i, one in enumerate(devices)])
    assert [len(group.runs) for group in groups] == [1, 1]
    assert all(key.startswith("evaluation.") for key in groups[0].settings)


def test_how_often_a_model_is_judged_sets_no_runs_apart(result: Result) -> None:
    runs = [run(result, seed) for seed in (1, 2)]
    runs[0].job = runs[0].job.model_copy(update={"evaluation": Evaluation(every=7)})
    (group,) = groups_of([compared(one, str(i)) for i, one in enumerate(runs)])
    assert len(group.runs) == 2


def test_a_run_of_real_nodes_counts_what_it_has(result: Result) -> None:
    job = Job(seed=4)
    bare = Result(job, "accuracy", result.params, [{"round": 1, "seconds": 2.0}], {"accuracy": 0.5})
    (group,) = groups_of([compared(bare, "a")])
    assert group.mean(lambda one: one.bytes) is None
    assert png(comparison_figure([group])).startswith(b"\x89PNG")
