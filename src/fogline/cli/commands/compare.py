"""``fogline compare``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from rich.markup import escape

from fogline.cli.failures import UsageError
from fogline.cli.listing import Listing, present
from fogline.cli.options import COMMON, CommonOptions, Flag, Json
from fogline.jobs.errors import JobError
from fogline.monitoring.comparison import ComparedRun, Group, MeanOverSeeds, groups_of, read_run
from fogline.monitoring.human import axis_label, human_bytes, human_joules, human_metric, human_seconds, is_share
from fogline.monitoring.run_files import RunFiles
from fogline.storage.atomic import write_file

DASH = "–"
ENDINGS = (".png", ".pdf", ".svg")
"""Of files that a plot can be written into."""
Figure = Callable[[ComparedRun], float | None]


def compare(
    run: Path,
    /,
    *runs: Path,
    target: float | None = None,
    plot: Path = Path("comparison.png"),
    no_plot: Flag = False,
    json: Json = False,
    options: CommonOptions = COMMON,
) -> None:
    """Put finished runs side by side: a table and a plot.

    Runs that differ in their seed only are one line.

    Parameters
    ----------
    run
        A run's folder.
    runs
        The others.
    target
        Goal of the headline metric, in its unit (accuracies from 0 to 1); by default that of each job.
    plot
        Where the plot is written, if matplotlib is installed: a file that ends in .png, .pdf or .svg.
    no_plot
        Write no plot.
    json
        Print an array of objects (JSON) instead of a table, and write no plot.
    """
    _check_ending(plot)
    groups = groups_of([read_run(RunFiles(folder), target) for folder in _distinct([run, *runs])])
    drawn = not (json or no_plot) and find_spec("matplotlib") is not None
    if drawn:
        _draw(groups, plot)
    present([_listing(groups, f"Plot: {plot}" if drawn else "")], json)


def _distinct(folders: list[Path]) -> list[Path]:
    """Each folder once, however often a shell's patterns named it."""
    return list({folder.resolve(): folder for folder in folders}.values())


def _check_ending(plot: Path) -> None:
    if plot.suffix.lower() not in ENDINGS:
        has = f"ends in '{plot.suffix}'" if plot.suffix else "has no ending"
        raise UsageError(f"--plot: {plot} {has}; name a file that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")


def _draw(groups: list[Group], file: Path) -> None:
    from fogline.monitoring.comparison_plot import comparison_figure
    from fogline.monitoring.plots import drawn

    try:
        write_file(file, drawn(comparison_figure(groups), file.suffix.lower().removeprefix(".")), durable=False)
    except OSError as error:
        raise JobError(
            f"--plot: {file} cannot be written: {error.strerror}; name another file, or --no-plot"
        ) from error


def _listing(groups: list[Group], hint: str) -> Listing:
    """A line a group; columns that nobody has anything for are left out."""
    settings = list(groups[0].settings)
    first = groups[0].runs[0]
    named = len({group.name for group in groups}) > 1
    above = axis_label(first.headline, first.unit)
    columns = ["", *["run"] * named, *map(escape, settings), "seeds", escape(above)]
    baselines = list(dict.fromkeys(name for group in groups for name in group.baselines))
    costs = [cost for cost in COSTS if any(group.mean(cost[1]) is not None for group in groups)]
    has_target = any(one.target is not None for group in groups for one in group.runs)
    columns += (
        [escape(name) for name in baselines] + [_target_column(groups)] * has_target + [cost[0] for cost in costs]
    )
    seeds = any(len(group.runs) > 1 for group in groups)
    told = ["± is one sample standard deviation over the seeds."] * seeds + [hint] * bool(hint)
    listing = Listing(
        tuple(columns), numbers=frozenset(columns[1 + named + len(settings) :]), hint="\n".join(told), folds=False
    )
    for group in groups:
        row = [str(group.number), *[escape(group.name)] * named]
        row += [escape(_text(value)) for value in group.settings.values()]
        row += [_seeds(group), _metric(first, group.mean(lambda one: one.value))]
        row += [_baseline(group, name) for name in baselines]
        row += [_to_target(group)] * has_target
        row += [DASH if (mean := group.mean(figure)) is None else human(mean.mean) for _, figure, human in costs]
        listing.add(_facts(group, baselines), *row)
    return listing


def _last(key: str) -> Figure:
    return lambda run: run.last(key)


COSTS: tuple[tuple[str, Figure, Callable[[float], str]], ...] = (
    ("rounds done", _last("round"), lambda value: f"{value:.4g}"),
    ("bytes", lambda run: run.bytes, human_bytes),
    ("time", _last("seconds"), human_seconds),
    ("energy", _last("joules"), human_joules),
)
"""What whole runs took: heading, figure, and how people read it."""


def _metric(run: ComparedRun, mean: MeanOverSeeds | None) -> str:
    """A metric's mean, and its deviation where there are several seeds; its unit stands above."""
    if mean is None:
        return DASH
    share = is_share(run.headline)
    told, apart = (f"{100 * n:.2f}" if share else f"{n:.4g}" for n in (mean.mean, mean.deviation))
    return told if mean.count == 1 else f"{told} ± {apart}"


def _baseline(group: Group, name: str) -> str:
    """The mean of a baseline, and over how many runs where not all have it."""
    mean = group.mean(lambda one: one.baselines.get(name))
    told = _metric(group.runs[0], mean)
    return told if mean is None or mean.count == len(group.runs) else f"{told} ({mean.count} of {len(group.runs)})"


def _target_column(groups: list[Group]) -> str:
    first = groups[0].runs[0]
    targets = {one.target for group in groups for one in group.runs}
    (target,) = targets if len(targets) == 1 else (None,)
    return (
        "rounds to target"
        if target is None
        else f"rounds to {escape(human_metric(first.headline, target, first.unit))}"
    )


def _to_target(group: Group) -> str:
    """Rounds to the target, of the runs that reached it."""
    mean = _reached(group, "round")
    if mean is None:
        return "not reached" if any(one.target is not None for one in group.runs) else DASH
    told = f"{mean.mean:.4g}" + (f" ± {mean.deviation:.2g}" if mean.count > 1 else "")
    return told if mean.count == len(group.runs) else f"{told} ({mean.count} of {len(group.runs)})"


def _reached(group: Group, what: str) -> MeanOverSeeds | None:
    return group.mean(lambda one: None if one.reached is None else float(getattr(one.reached, what)))


def _seeds(group: Group) -> str:
    seeds = sorted(one.job.seed for one in group.runs)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def _text(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _facts(group: Group, baselines: list[str]) -> dict[str, Any]:
    """A group, for programs."""
    first = group.runs[0]
    plain = msgspec.to_builtins
    return {
        "name": group.name,
        "runs": [one.folder for one in group.runs],
        "seeds": [one.job.seed for one in group.runs],
        "settings": {
            key: value if isinstance(value, int | float | None) else _text(value)
            for key, value in group.settings.items()
        },
        "headline": first.headline,
        "unit": first.unit,
        "value": plain(group.mean(lambda one: one.value)),
        "baselines": {name: plain(group.mean(lambda one, name=name: one.baselines.get(name))) for name in baselines},
        "target": first.target,
        "reached": {what: plain(_reached(group, what)) for what in ("round", "seconds", "bytes", "joules")},
        "rounds": plain(group.mean(_last("round"))),
        "bytes": plain(group.mean(lambda one: one.bytes)),
        "seconds": plain(group.mean(_last("seconds"))),
        "joules": plain(group.mean(_last("joules"))),
    }
