"""Figures of a run: how it learned, what it sent, how devices fare. No global state of pyplot is touched."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fogline.monitoring.human import axis_label, human_metric, is_share, traffic
from fogline.monitoring.record import METRIC, Row, RunRecord, Spread, last_reported

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#2a6f97", "#e07a1f", "#3a8f5c", "#b23a48", "#6b7280"
COLOURS = (BLUE, ORANGE, GREEN, "#7b5ea7", "#8c6d46", RED)
BESIDE = (ORANGE, "#7b5ea7", "#8c6d46")
"""Of baselines, which are neither the run nor its target."""
TIMES = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))
BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
BARS = 24
"""Fogs that get a bar of their own; of more, a histogram is drawn."""


def figures(result: RunRecord) -> dict[str, Figure]:
    """All figures that the result has numbers for, by name: ``learning``, ``traffic``, ``devices``, ``reports``."""
    drawn: dict[str, Figure] = {}
    if result.history:
        drawn["learning"] = learning(result)
        drawn["traffic"] = traffic_figure(result)
    if result.devices is not None:
        drawn["devices"] = devices(result)
    if names := list(last_reported(result.history)):
        drawn["reports"] = reports(result, names)
    return drawn


def save(result: RunRecord, folder: Path) -> list[Path]:
    """Write all figures as PNG files; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, figure in figures(result).items():
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(png(figure))
    return paths


def png(figure: Figure) -> bytes:
    """A figure as PNG, 150 dots per inch."""
    return drawn(figure, "png")


def drawn(figure: Figure, form: str) -> bytes:
    """A figure as the bytes of a file; ``form``: ``png`` (150 dots per inch), ``pdf`` or ``svg``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=150, format=form)
    return buffer.getvalue()


def learning(result: RunRecord) -> Figure:
    """The headline metric and the loss, each over rounds and over virtual time."""
    figure, axes = _grid(result, 2, 2, (10.0, 6.4))
    for column, over in enumerate(("round", "seconds")):
        _metric_curve(axes[0][column], result, over)
        _loss_curve(axes[1][column], result, over)
    return figure


def metric_figure(result: RunRecord) -> Figure:
    """The headline metric over rounds beside its baselines, small."""
    figure, axes = _grid(result, 1, 1, (5.2, 3.2))
    _metric_curve(axes[0][0], result, "round")
    return figure


def traffic_figure(result: RunRecord) -> Figure:
    """Bytes so far on the links below every tier, down and up, over rounds and over virtual time."""
    figure, axes = _grid(result, 1, 2, (10.0, 3.8))
    for column, over in enumerate(("round", "seconds")):
        _bytes_curve(axes[0][column], result, over)
    return figure


def devices(result: RunRecord) -> Figure:
    """The headline metric over devices, and by fog."""
    assert result.devices is not None
    columns = 2 if result.fogs is not None and len(result.fogs.values) > 1 else 1
    figure, axes = _grid(result, 1, columns, (5.0 * columns, 3.8))
    _histogram(axes[0][0], result, result.devices, "devices")
    _beside(axes[0][0], result)
    if columns == 2 and result.fogs is not None:
        _by_group(axes[0][1], result, result.fogs)
    return figure


def reports(result: RunRecord, names: Sequence[str]) -> Figure:
    """What a method's reports say of each of these metrics, over rounds."""
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure, axes = _grid(result, rows, columns, (5.0 * columns, 3.2 * rows))
    for place, ax in enumerate(ax for row in axes for ax in row):
        if place < len(names):
            _plot(ax, *_points(result, "round", METRIC + names[place]), BLUE, None)
            ax.set_ylabel(names[place])
            _label_x(ax, result, "round")
        else:
            ax.set_visible(False)
    return figure


def overview(result: RunRecord) -> Figure:
    """One figure for a glance: metric over rounds and time, bytes, spread over devices (or the loss).

    Raises:
        ImportError: matplotlib is not installed (``pip install fogline[plots]``).
    """
    figure, axes = _grid(result, 2, 2, (10.0, 6.4))
    _metric_curve(axes[0][0], result, "round")
    _metric_curve(axes[0][1], result, "seconds")
    _bytes_curve(axes[1][0], result, "round")
    if result.devices is not None:
        _histogram(axes[1][1], result, result.devices, "devices")
        _beside(axes[1][1], result)
    else:
        _loss_curve(axes[1][1], result, "round")
    return figure


def grid(title: str, rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[list[Axes]]]:
    """An empty figure with a title: its axes by row and column; ``size`` in inches.

    Raises:
        ImportError: matplotlib is not installed (``pip install fogline[plots]``).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = cast("list[list[Axes]]", figure.subplots(rows, columns, squeeze=False).tolist())
    for ax in (ax for row in axes for ax in row):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#e5e7eb", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=GREY, labelsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure, axes


def _grid(result: RunRecord, rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[list[Axes]]]:
    """An empty figure with the run's title."""
    job = result.job
    return grid(f"{job.name}: {job.algorithm.name}, {len(result.history)} rounds, seed {job.seed}", rows, columns, size)


def _metric_curve(ax: Axes, result: RunRecord, over: str) -> None:
    name, (x, y) = result.headline, _points(result, over, result.headline)
    scale = 100.0 if is_share(name) else 1.0
    _plot(ax, x, [scale * value for value in y], BLUE, result.job.algorithm.name if result.baselines else None)
    _baseline_lines(ax, result, over, scale)
    target = result.job.evaluation.target
    if target is not None:
        goal = f"target {human_metric(name, target, result.units.get(name, ''))}"
        ax.axhline(scale * target, color=GREEN, linewidth=1, linestyle=(0, (4, 3)), label=goal)
    if result.reached is not None:
        there = [row for row in result.history if row["round"] == result.reached.round and name in row]
        at = [row[over] / (_time_scale(result)[0] if over == "seconds" else 1.0) for row in there]
        ax.plot(at, [scale * row[name] for row in there], "o", color=GREEN, markersize=7, zorder=5)
    if result.baselines or target is not None:
        legend(ax)
    ax.set_ylabel(_axis(result, f", {_judges(result)}" if _judges(result) else ""))
    _label_x(ax, result, over)


def _baseline_lines(ax: Axes, result: RunRecord, over: str, scale: float) -> None:
    """A curve for a baseline of one model; lines at the mean and the worst tenth for one of many."""
    name = result.headline
    for i, baseline in enumerate(result.baselines.values()):
        value, colour = baseline.value(name), BESIDE[i % len(BESIDE)]
        if value is None:
            continue
        spread = baseline.models or baseline.devices
        if spread is not None:
            worst = scale * spread.worst_decile
            ax.axhline(scale * value, color=colour, linewidth=1.4, linestyle="--", label=f"{baseline.name}, mean")
            ax.axhline(worst, color=colour, linewidth=1.2, linestyle=":", label=f"{baseline.name}, worst tenth")
        elif baseline.history:
            x, y = _points(result, over, name, baseline.history)
            ax.plot(x, [scale * value for value in y], color=colour, linewidth=1.4, linestyle="--", label=baseline.name)


def _loss_curve(ax: Axes, result: RunRecord, over: str) -> None:
    drawn, judged = 0, _judges(result) or "on the test set"
    for i, (name, label) in enumerate((("train_loss", "on devices, while training"), ("loss", judged))):
        x, y = _points(result, over, name)
        if any(math.isfinite(value) for value in y):
            _plot(ax, x, y, (ORANGE, BLUE)[i], label)
            drawn += 1
    if drawn:
        legend(ax)
    else:
        _empty(ax, "no loss was recorded")
    ax.set_ylabel("loss")
    _label_x(ax, result, over)


def _bytes_curve(ax: Axes, result: RunRecord, over: str) -> None:
    x, _ = _points(result, over, over)
    rows = [traffic(row) for row in result.history]
    most = max((amount for row in rows for both in row.values() for amount in both), default=0.0)
    scale, unit = bytes_scale(most)
    for i, tier in enumerate(rows[-1] if rows else {}):
        for way, style in enumerate(("-", (0, (4, 2)))):
            y = [row.get(tier, (0.0, 0.0))[way] / scale for row in rows]
            label = f"below {tier}, {('down', 'up')[way]}"
            ax.plot(x, y, color=COLOURS[i % len(COLOURS)], linestyle=style, linewidth=1.6, label=label)
    ax.set_ylim(bottom=0)
    ax.set_ylabel(f"traffic so far ({unit})")
    if rows and rows[-1]:
        legend(ax)
    _label_x(ax, result, over)


def _histogram(ax: Axes, result: RunRecord, spread: Spread, what: str) -> None:
    name, unit = result.headline, result.units.get(result.headline, "")
    scale = 100.0 if is_share(name) else 1.0
    values = [scale * value for value in spread.numbers if math.isfinite(value)]
    bins = max(1, min(30, math.ceil(2 * len(values) ** (1 / 3))))
    ax.hist(values, bins=bins, color=BLUE, alpha=0.85, edgecolor="white", linewidth=0.6)
    marks = ((spread.mean, ORANGE, "mean"), (spread.worst_decile, RED, "worst tenth"))
    for value, colour, label in marks:
        ax.axvline(scale * value, color=colour, linewidth=1.6, label=f"{label} {human_metric(name, value, unit)}")
    ax.set_xlabel(_axis(result, " on own data"))
    ax.set_ylabel(f"number of {what}")
    legend(ax)


def _beside(ax: Axes, result: RunRecord) -> None:
    """Lines at the means of the model that devices received, and of devices that train alone, where they are known."""
    alone = result.baselines.get("alone")
    known = {"common model": result.common, "alone": None if alone is None else alone.devices}
    name, unit = result.headline, result.units.get(result.headline, "")
    scale = 100.0 if is_share(name) else 1.0
    drawn = [(what, spread.mean) for what, spread in known.items() if spread is not None]
    for (what, mean), colour in zip(drawn, BESIDE, strict=False):
        label = f"{what}, mean {human_metric(name, mean, unit)}"
        ax.axvline(scale * mean, color=colour, linewidth=1.4, linestyle="--", label=label)
    if drawn:
        legend(ax)


def _by_group(ax: Axes, result: RunRecord, spread: Spread) -> None:
    """A bar a fog; a histogram where there are many."""
    if len(spread.values) > BARS:
        _histogram(ax, result, spread, "fogs")
        return
    name, unit = result.headline, result.units.get(result.headline, "")
    scale = 100.0 if is_share(name) else 1.0
    groups = list(spread.values)
    values = [scale * spread.values[group] for group in groups]
    bars = ax.bar(range(len(groups)), values, color=BLUE, alpha=0.85, width=0.7)
    crowded = len(groups) > 6
    labels = [f"{value:.1f}" if is_share(name) else f"{value:.3g}" for value in values]
    ax.bar_label(bars, labels, label_type="center", fontsize=9, color="white", rotation=90 * crowded)
    mean = f"mean of these {human_metric(name, spread.mean, unit)}"
    ax.axhline(scale * spread.mean, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)), label=mean)
    ax.set_xticks(range(len(groups)), groups, rotation=45 * crowded, ha="right" if crowded else "center")
    ax.set_ylabel(_axis(result, " on their devices' own data"))
    legend(ax)


def _axis(result: RunRecord, where: str = "") -> str:
    """The headline metric with its unit, for an axis."""
    return axis_label(result.headline, result.units.get(result.headline, ""), where)


def _judges(result: RunRecord) -> str:
    """Who judged, where it was not the cloud; each device judges what it works with, which may be its own."""
    return "" if result.job.evaluation.at_cloud else "judged by devices"


def legend(ax: Axes) -> None:
    """Above the axes, where it hides nothing."""
    ax.legend(
        frameon=False,
        fontsize=8,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        columnspacing=1.2,
        handlelength=1.6,
    )


def _plot(ax: Axes, x: Sequence[float], y: Sequence[float], colour: str, label: str | None) -> None:
    marker = "o" if len(x) <= 30 else ""
    ax.plot(x, y, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=label)


def _points(
    result: RunRecord, over: str, name: str, history: Sequence[Row] | None = None
) -> tuple[list[float], list[float]]:
    """The rounds of a history (the run's own if None) that have that number: where on the axis, and the number."""
    scale = _time_scale(result)[0] if over == "seconds" else 1.0
    rows = [row for row in (result.history if history is None else history) if name in row and over in row]
    return [row[over] / scale for row in rows], [row[name] for row in rows]


def _time_scale(result: RunRecord) -> tuple[float, str]:
    """Seconds per unit of the time axis, and the unit."""
    longest = max((row.get("seconds", 0.0) for row in result.history), default=0.0)
    return next(((size, unit) for least, size, unit in TIMES if longest >= least), (1.0, "seconds"))


def _label_x(ax: Axes, result: RunRecord, over: str) -> None:
    ax.set_xlabel("round" if over == "round" else f"virtual time ({_time_scale(result)[1]})")
    if over == "round":
        count_rounds(ax)
    ax.set_xlim(left=0)


def count_rounds(ax: Axes) -> None:
    """Whole numbers only along the axis of rounds."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))


def bytes_scale(most: float) -> tuple[float, str]:
    """Bytes per unit of an axis that goes so far, and the unit."""
    return next(((size, unit) for size, unit in BYTES if most >= 2 * size), (1.0, "bytes"))


def _empty(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)
