"""A figure of several runs: over rounds, over bytes, and where they came to."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING

from fogline.monitoring.comparison import Group, MeanOverSeeds, bytes_of, curve
from fogline.monitoring.human import axis_label, is_share
from fogline.monitoring.plots import COLOURS, GREY, bytes_scale, count_rounds, grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":")
MARKS = ("D", "s", "^", "v")
WIDEST = 180
"""Characters of a line of the legend."""


def comparison_figure(groups: Sequence[Group]) -> Figure:
    """The headline metric over rounds, over bytes, and of the final models beside their baselines.

    Bands and error bars are one sample standard deviation over the seeds, to both sides.

    Raises:
        ImportError: matplotlib is not installed (``pip install fogline[plots]``).
    """
    first = groups[0].runs[0]
    height = 3.8 + 0.4 * len(groups)
    figure, ((rounds, sent, final),) = grid(f"{first.headline} of {_plural(groups)}", 1, 3, (14.0, height))
    label = axis_label(first.headline, first.unit)
    most = max((run.bytes or 0.0 for group in groups for run in group.runs), default=0.0)
    scale, unit = bytes_scale(most)
    for group in groups:
        _curve(rounds, group, None)
        _curve(sent, group, scale)
    for ax, along in ((rounds, "round"), (sent, f"bytes sent so far, on all links ({unit})")):
        ax.set_xlabel(along)
        ax.set_ylabel(label)
        ax.set_xlim(left=0)
    count_rounds(rounds)
    if rounds.lines:  # Below the figure: labels of runs that differ in much are long.
        handles, labels = rounds.get_legend_handles_labels()
        told = [fill(label, WIDEST) for label in labels]
        figure.legend(handles, told, loc="outside lower left", frameon=False, fontsize=8, handlelength=1.6)
    _final(final, groups)
    final.set_xlabel(f"{label}, final model")
    return figure


def _plural(groups: Sequence[Group]) -> str:
    runs = sum(len(group.runs) for group in groups)
    seeds = "; ± is one standard deviation over seeds" if runs > len(groups) else ""
    return f"{runs} run{'s' * (runs != 1)}{seeds}"


def _look(group: Group) -> tuple[str, str]:
    """A group's colour and style, in every part of the figure."""
    place = group.number - 1
    return COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS) % len(STYLES)]


def _scaled(group: Group) -> float:
    return 100.0 if is_share(group.runs[0].headline) else 1.0


def _curve(ax: Axes, group: Group, unit: float | None) -> None:
    """Over rounds; or over bytes, in so many a unit."""
    rounds, means = curve(group, group.runs[0].headline)
    x = rounds if unit is None else [at / unit for at in _bytes_at(group, rounds)]
    if not rounds or len(x) < len(rounds):
        return
    colour, style = _look(group)
    scale = _scaled(group)
    y = [scale * one.mean for one in means]
    ax.plot(x, y, color=colour, linestyle=style, linewidth=1.8, label=group.label)
    if len(group.runs) > 1:
        low = [scale * (one.mean - one.deviation) for one in means]
        high = [scale * (one.mean + one.deviation) for one in means]
        ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def _bytes_at(group: Group, rounds: Sequence[float]) -> list[float]:
    """Bytes so far after these rounds, the mean over the runs; none where a run did not count them."""
    by_round = [{row["round"]: bytes_of(row) for row in run.history} for run in group.runs]
    found: list[float] = []
    for at in rounds:
        amounts = [amount for rows in by_round if (amount := rows[at]) is not None]
        if len(amounts) == len(by_round):
            found.append(fmean(amounts))
    return found


def _final(ax: Axes, groups: Sequence[Group]) -> None:
    """A line a group, the first on top."""
    names = list(dict.fromkeys(name for group in groups for name in group.baselines))
    for place, group in enumerate(groups):
        colour, _ = _look(group)
        scale = _scaled(group)
        _bar(ax, group.mean(lambda run: run.value), place, scale, colour, "o", group.label)
        for i, name in enumerate(names):
            mark = MARKS[i % len(MARKS)]
            _bar(ax, group.mean(lambda run, name=name: run.baselines.get(name)), place, scale, GREY, mark, name)
    ax.set_yticks(range(len(groups)), [str(group.number) for group in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    if names:
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        kept = {name: handles[name] for name in names if name in handles}
        ax.legend(
            kept.values(), kept.keys(), frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1)
        )


def _bar(ax: Axes, found: MeanOverSeeds | None, place: int, scale: float, colour: str, mark: str, label: str) -> None:
    if found is None:
        return
    spread = scale * found.deviation if found.count > 1 else None
    ax.errorbar(
        [scale * found.mean],
        [place],
        xerr=spread,
        fmt=mark,
        color=colour,
        markersize=7 if colour != GREY else 5,
        capsize=4,
        linewidth=1.4,
        label=label,
    )
