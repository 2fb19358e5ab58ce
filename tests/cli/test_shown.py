"""What people see: tables, progress, plots."""

from __future__ import annotations

import io
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from fogline.algorithms.registry import make
from fogline.monitoring.human import human_bytes, human_joules, human_metric, human_seconds
from fogline.monitoring.plots import figures, png
from fogline.monitoring.progress import Live, Progress, Silent
from fogline.monitoring.result import Baseline, Result, Spread
from fogline.monitoring.table import next_steps
from fogline.training.method import STEP_HOOKS, overrides
from tests.patience import PATIENCE


@pytest.mark.parametrize(
    ("human", "amount", "text"),
    [
        (human_seconds, 0.0, "0.0 s"),
        (human_seconds, 0.0123, "12.3 ms"),
        (human_seconds, 42.24, "42.2 s"),
        (human_seconds, 60, "1 min"),
        (human_seconds, 3599.7, "1 h"),
        (human_seconds, 7985, "2 h 13 min"),
        (human_seconds, 90000, "1 d 1 h"),
        (human_seconds, float("nan"), "?"),
        (human_bytes, 999, "999 B"),
        (human_bytes, 999.6, "1.0 kB"),
        (human_bytes, 1.25e6, "1.2 MB"),
        (human_bytes, 514e6, "514 MB"),
        (human_bytes, 3e18, "3000 PB"),
        (human_joules, 7800, "7.8 kJ"),
        (human_joules, 0.0535, "53.5 mJ"),
        (human_joules, 0, "0.0 J"),
    ],
)
def test_quantities_have_units(human: object, amount: float, text: str) -> None:
    assert human(amount) == text  # type: ignore[operator]


def test_accuracies_are_percentages() -> None:
    assert human_metric("accuracy", 0.91234) == "91.23 %"
    assert human_metric("rmse", 0.91234) == "0.9123"


def test_the_summary_tells_all_that_the_run_gave(result: Result) -> None:
    text = result.summary()
    for part in (
        "fedprox, 40 rounds, seed 3",
        "accuracy 92.31 %, loss 0.33",
        "On held-out devices",
        "Over 200 devices  ",
        "accuracy on examples of theirs that never train: mean",
        "worst tenth",
        "By fog  ",
        "fog-4 ",
        "Bytes below fog",
        "352 MB down, 316 MB up",
        "10.4 kJ",
        "90.00 % in round 30: 48 min 10 s, 514 MB, 7.8 kJ",
        "13 late (first: device-3: after the deadline [10 s])",
        "2 failed",
    ):
        assert part in text
    assert "dropped" not in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_bare_result_has_a_summary_too(result: Result) -> None:
    bare = Result(result.job, "accuracy", result.params, [], {})
    assert "90.00 % not reached" in bare.summary()
    assert "not judged: the data has no common test set" in bare.summary()
    assert "nothing" in bare.summary()
    assert bare._repr_html_().startswith("<pre")
    assert figures(bare) == {}


def test_what_devices_judge_is_not_called_the_global_model(result: Result) -> None:
    assert "Global model" in result.summary()
    job = result.job
    evaluation = job.evaluation.model_copy(update={"where": "devices"})
    result.job = job.model_copy(update={"evaluation": evaluation})
    (line,) = (line for line in result.summary().splitlines() if "Judged by devices" in line)
    assert "accuracy 92.31 %" in line
    assert "Global model" not in result.summary()
    above, below = figures(result)["learning"].axes[0], figures(result)["learning"].axes[2]
    assert above.get_ylabel() == "accuracy, judged by devices (%)"
    legend = below.get_legend()
    assert legend is not None
    assert "judged by devices" in [text.get_text() for text in legend.get_texts()]
    result.metrics = {}
    assert "not judged: no device has" in result.summary()


def test_many_fogs_are_cut_to_the_outermost(result: Result) -> None:
    result.fogs = Spread(0.5, 0.1, 0.2, {f"fog-{i}": i / 100 for i in range(100)})
    assert "lowest fog-0 0.00 %" in result.summary()
    assert "fog-99 99.00 %" in result.summary()
    assert "fog-50" not in result.summary()


def test_what_over_selection_left_is_no_mishap(result: Result) -> None:
    result.counts = {"surplus": 17}
    text = result.summary()
    assert "17 updates came when their round had enough" in text
    assert any(line.split() == ["What", "went", "wrong", "nothing"] for line in text.splitlines())


def test_a_star_has_no_groups(result: Result) -> None:
    result.fogs = Spread(0.9, 0.9, 0.0, {"cloud": 0.9})
    assert "By " not in result.summary()


def test_errors_are_shown_in_the_unit_of_the_target(result: Result) -> None:
    unit = "[kWh]"  # Brackets are no markup.
    result.headline, result.units = "rmse", {"rmse": unit, "mae": unit}
    result.metrics = {"loss": 0.01, "rmse": 12.5, "mae": 9.0}
    for row in result.history:
        row |= {"rmse": 100.0 / row["round"]}
    text, drawn = result.summary(), figures(result)
    assert "rmse 12.5 [kWh], loss 0.01, mae 9 [kWh]" in text
    assert drawn["learning"].axes[0].get_ylabel() == "rmse ([kWh])"
    assert drawn["devices"].axes[0].get_xlabel() == "rmse on own data ([kWh])"
    stream = io.StringIO()
    live = Live(Console(file=stream, width=200))
    live.started(result.job, 200, 5, "rmse", unit)
    live.round(result.history[-1])
    live.finished(result)
    assert "round 40/40  rmse 2.5 [kWh]  clock" in stream.getvalue()
    assert "rmse 12.5 [kWh]" in stream.getvalue().splitlines()[-1]


def test_the_next_command_depends_on_the_outcome(result: Result, tmp_path: object) -> None:
    assert next_steps(result) == []
    result.folder = tmp_path  # type: ignore[assignment]
    assert next_steps(result)[0][1].endswith("--seed 4")
    result.reached = None
    assert next_steps(result)[0][1] == f"fogline simulate --resume {tmp_path} --set rounds=80"


def test_the_method_to_compare_with_goes_with_every_task(result: Result, tmp_path: object) -> None:
    result.folder = tmp_path  # type: ignore[assignment]
    result.job = result.job.model_copy(update={"algorithm": result.job.algorithm.model_copy(update={"name": "fedavg"})})
    proposed = make(next_steps(result)[0][1].rpartition("algorithm=")[2])
    assert [hook for hook in ("work", *STEP_HOOKS, "phases", "local_round") if overrides(proposed, hook)] == []


def test_a_notebook_gets_the_table_and_a_picture(result: Result) -> None:
    html = result._repr_html_()
    assert "data:image/png;base64,iVBOR" in html
    assert "92.31 %" in html


def test_every_figure_is_drawn_without_pyplot(result: Result) -> None:
    drawn = figures(result)
    assert set(drawn) == {"learning", "traffic", "devices"}
    for figure in [*drawn.values(), result.plot()]:
        assert png(figure).startswith(b"\x89PNG")
    labels = [ax.get_xlabel() for ax in drawn["learning"].axes]
    assert labels == ["round", "virtual time (minutes)"] * 2
    assert drawn["learning"].axes[0].get_ylabel() == "accuracy (%)"
    assert drawn["traffic"].axes[0].get_ylabel() == "traffic so far (MB)"
    assert "matplotlib.pyplot" not in sys.modules


def test_the_curve_shows_the_history(result: Result) -> None:
    line = figures(result)["learning"].axes[0].lines[0]
    assert list(line.get_xdata()) == list(range(2, 41, 2))
    assert line.get_ydata()[-1] == pytest.approx(100 * result.history[-1]["accuracy"])


def test_baselines_are_told_with_what_federation_gains_and_costs(result: Result) -> None:
    curve = [{"round": row["round"], "seconds": row["seconds"], "accuracy": 0.95} for row in result.history[1::2]]
    models = Spread.of({f"device-{i}": i / 10 for i in range(10)}, higher_is_better=True)
    result.baselines = {
        "pooled": Baseline("pooled", 100, 40, {"accuracy": 0.95, "loss": 0.2}, history=curve),
        "alone": Baseline("alone", 100, 40, {"accuracy": 0.45}, models=models, failures=2, reason="a [b]: no data"),
    }
    text = " ".join(result.summary().split())
    assert "Baseline pooled accuracy 95.00 %, loss 0.2; federation costs 2.69 points" in text
    assert "accuracy of 10 models: mean 45.00 %, worst tenth 0.00 %, std 28.72 %; federation gains 47.31 points" in text
    assert "(2 without a model (first: a [b]: no data))" in text
    for axes in figures(result)["learning"].axes[:2]:
        shown = [label.get_text() for label in axes.get_legend().get_texts()]
        assert shown == ["fedprox", "pooled", "alone, mean", "alone, worst tenth", "target 90.00 %"]
        lines = {line.get_label(): line for line in axes.lines}
        assert lines["pooled"].get_ydata()[0] == pytest.approx(95)
        assert len(lines["pooled"].get_xdata()) == 20
        assert lines["alone, mean"].get_ydata()[0] == pytest.approx(45)
    result.headline, result.units, result.higher_is_better = "rmse", {"rmse": "kWh"}, False
    result.metrics = {"rmse": 12.5}
    result.baselines = {"pooled": Baseline("pooled", 100, 40, {"rmse": 12.0})}
    assert "rmse 12 kWh; federation costs 0.5 kWh" in result.summary()


def test_what_reports_say_is_shown(result: Result) -> None:
    assert "Reports say" not in result.summary()
    for row in result.history[:30]:
        row["metric/drift"] = row["round"] / 7
        row["metric/norm [2]"] = 3.0
    assert "Reports say drift 4.286, norm [2] 3" in " ".join(result.summary().split())
    drawn = figures(result)["reports"]
    assert [ax.get_ylabel() for ax in drawn.axes] == ["drift", "norm [2]"]
    assert list(drawn.axes[0].lines[0].get_xdata()) == list(range(1, 31))
    assert png(drawn).startswith(b"\x89PNG")
    assert result.frame()["metric/drift"].count() == 30


# Progress


class Clock:
    """A wall clock that stands still until told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def follow(result: Result, live: Live, clock: Clock, pace: float = 1.0) -> None:
    live.started(result.job, 200, 5)
    live.engine("stacked", 32, 2)
    for row in result.history:
        clock.now += pace
        live.round(row)
    live.finished(result)
    live.close()


def test_progress_objects_are_recognised() -> None:
    assert isinstance(Silent(), Progress)
    assert isinstance(Live(), Progress)
    assert not isinstance(True, Progress)


def test_without_a_terminal_there_are_few_plain_lines(result: Result) -> None:
    stream, clock = io.StringIO(), Clock()
    follow(result, Live(Console(file=stream), clock=clock), clock)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "demo: fedprox on 200 devices below 5 aggregators, 40 rounds, seed 3"
    assert lines[1] == "Engine stacked: 32 devices at a time, in 2 worker processes"
    assert 15 <= len(lines) <= 25
    middle = next(line for line in lines if line.startswith("round 20/40"))
    assert "accuracy 8" in middle
    assert "MB down" in middle
    assert "about 20.0 s left" in middle
    assert lines[-2].startswith("round 40/40")
    assert lines[-1].startswith("Done after 40 rounds in 16.2 s: accuracy 92.31 %")
    assert "\x1b" not in stream.getvalue()


def told(result: Result, rounds: int, every: int, pace: float = 1.0) -> list[str]:
    """Plain lines of rounds of a run that is judged every so many."""
    stream, clock = io.StringIO(), Clock()
    evaluation = result.job.evaluation.model_copy(update={"every": every})
    result.job = result.job.model_copy(update={"rounds": rounds, "evaluation": evaluation})
    result.history = [
        {"round": i, "seconds": i} | ({"accuracy": 0.5 + i / 4000} if i % every == 0 else {})
        for i in range(1, rounds + 1)
    ]
    follow(result, Live(Console(file=stream), clock=clock, patience=30), clock, pace)
    return [line for line in stream.getvalue().splitlines() if line.startswith("round ")]


def test_a_short_run_tells_every_round_and_shows_the_metric_where_it_was_judged(result: Result) -> None:
    lines = told(result, rounds=10, every=1)
    assert len(lines) == 10
    assert all("accuracy" in line for line in lines)


@pytest.mark.parametrize(("rounds", "every"), [(39, 1), (59, 1), (1000, 1), (1000, 7), (40, 30)])
def test_lines_are_few_and_stand_on_judged_rounds(result: Result, rounds: int, every: int) -> None:
    lines = told(result, rounds, every, pace=0.01)
    assert len(lines) <= 22
    judged = [int(line.split()[1].split("/")[0]) % every == 0 for line in lines]
    assert ["accuracy" in line for line in lines] == judged
    assert all(judged[1:-1])


def test_slow_rounds_are_told_more_often_but_not_for_hours_on_end(result: Result) -> None:
    assert len(told(result, rounds=1000, every=1, pace=31)) in range(50, 200)
    lines = told(result, rounds=40, every=10, pace=31)
    assert len(lines) > 20
    assert sum("accuracy" in line for line in lines) == 4


def test_in_a_terminal_the_thread_begins_with_the_first_row_and_ends(result: Result) -> None:
    stream, clock = io.StringIO(), Clock()
    live = Live(Console(file=stream, force_terminal=True, width=100), clock=clock)
    before = threading.active_count()
    live.started(result.job, 200, 5)
    live.engine("stacked", 32, 2)
    assert threading.active_count() == before
    live.round(result.history[0])
    assert threading.active_count() == before + 1
    live.round(result.history[1])
    live.note("a note [10 s]")
    live.close()
    live.close()
    deadline = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    for part in ("round", "accuracy", "virtual time", "↓", "a note [10 s]"):
        assert part in stream.getvalue()


def test_in_a_notebook_one_output_is_replaced(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)

    def display(html: str, display_id: bool) -> object:
        shown.append(html)
        return handle

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    console = Console(file=io.StringIO(), force_jupyter=False)
    console.is_jupyter = True
    live = Live(console)
    monkeypatch.setattr(live, "_print", lambda text: None)
    live.started(result.job, 200, 5)
    for row in result.history[:3]:
        live.round(row)
    live.close()
    assert len(shown) == 3
    assert all(html.startswith("<pre") for html in shown)
    assert "accuracy" in shown[2]
