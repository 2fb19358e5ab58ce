"""A result as people read it: a table for the terminal, plain text, and HTML for notebooks.

The ``human_…`` functions write quantities with units; progress and plots use them too.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fogline.jobs.protection.budget import in_words
from fogline.monitoring.human import (
    human_bytes,
    human_difference,
    human_joules,
    human_metric,
    human_seconds,
    traffic,
)
from fogline.monitoring.mishaps import lost_in_words
from fogline.monitoring.record import Baseline, RunRecord, Spread, last_reported

WIDTH = 100
FOGS_SHOWN = 8
SUMS_SHOWN = 12
NAMES_SHOWN = 20
SURPLUS = "surplus"
"""What is counted of over-selection: it is meant to be, and no mishap."""
BOOKKEEPING = ("round", "seconds", "wall", "joules", "train_loss", "updates", "steps", "devices", "epsilon")
"""Keys of a row that are no metric of the model, beside bytes (``down/…``, ``up/…``), what reports say (``metric/…``)
and counts of mishaps."""


def result_table(result: RunRecord) -> RenderableType:
    """The whole result, in sections."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(result):
        table.add_row(name, value)
    job = result.job
    rounds = len(result.history)
    title = Text.assemble((job.name, "bold"), f": {job.algorithm.name}, {rounds} rounds, seed {job.seed}")
    return Group(title, Text(), table)


def next_steps(result: RunRecord) -> list[tuple[str, str]]:
    """What to try next: (why, command)."""
    if result.folder is None:
        return []
    file = result.folder / "job.toml"
    again = f"fogline simulate {file}"
    steps = [("Show this table again", f"fogline show {result.folder}")]
    target = result.job.evaluation.target
    if target is not None and result.reached is None:
        anew = result.by_cloud or result.job.local.schedule == "cosine"
        on = again if anew else f"fogline simulate --resume {result.folder}"
        steps.insert(0, ("Give it more rounds", f"{on} --set rounds={2 * result.job.rounds}"))
    elif result.job.algorithm.name == "fedavg":
        # One that leaves the device's training alone goes with every task.
        steps.insert(0, ("Compare another method", f"{again} --set algorithm=fedavgm"))
    else:
        steps.insert(0, ("See whether another seed agrees", f"{again} --seed {result.job.seed + 1}"))
    return steps


def as_text(result: RunRecord) -> str:
    """The table as plain text."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as capture:
        console.print(result_table(result))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def as_html(result: RunRecord) -> str:
    """The table and, where matplotlib is there, the overview figure."""
    html = to_html(result_table(result))
    if find_spec("matplotlib") is None or not result.history:
        return html
    from fogline.monitoring.plots import overview, png

    image = base64.b64encode(png(overview(result))).decode()
    return f'{html}<img alt="The run over rounds and time" src="data:image/png;base64,{image}">'


def to_html(content: RenderableType) -> str:
    """Anything of rich's, for a notebook."""
    console = Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True, force_jupyter=False)
    console.print(content)
    return console.export_html(inline_styles=True, code_format='<pre style="line-height:1.25">{code}</pre>')


def _lines(result: RunRecord) -> Iterator[tuple[str, str]]:
    """Names and values of the table, in rich's markup."""
    headline = result.headline
    first = {headline: result.metrics[headline]} if headline in result.metrics else {}
    metrics = _metrics(result, first | result.metrics)
    if result.job.evaluation.at_cloud:
        yield "Global model", metrics or "not judged: the data has no common test set"
    else:  # Each device judges what it works with, which may be a model of its own.
        yield "Judged by devices", metrics or "not judged: no device has"
    if result.held_out:
        yield "On held-out devices", _metrics(result, result.held_out)
    for baseline in result.baselines.values():
        yield f"Baseline {escape(baseline.name)}", _baseline(result, baseline)
    if result.devices is not None:
        spread = f"{escape(headline)} on examples of theirs that never train: {_spread(result, result.devices)}"
        yield f"Over {result.devices.count:,} devices", spread
        if result.common is not None:
            yield "With the common model", _beside_common(result, result.devices, result.common)
    if result.fogs is not None and len(result.fogs.values) > 1:
        yield f"By {escape(result.job.tree.names[-1])}", _groups(result, result.fogs)
    for query, sums in result.queries.items():
        yield "Query", f"{escape(query)}: {_answer(sums)}"
    last = result.history[-1] if result.history else {}
    if result.lost_rounds:
        yield "Rounds", f"[yellow]{lost_in_words(result.lost_rounds, result.job.rounds)}[/]"
    if reported := last_reported(result.history):
        yield "Reports say", ", ".join(f"{escape(name)} {value:.4g}" for name, value in reported.items())
    if result.job.privacy is not None and "epsilon" in last:
        yield "Given away", in_words(result.job.privacy, last["epsilon"])
    if "devices" in last:
        yield "Devices in a round", _attendance([row["devices"] for row in result.history if "devices" in row])
    for tier, (down, up) in traffic(last).items():
        yield f"Bytes below {escape(tier)}", f"{human_bytes(down)} down, {human_bytes(up)} up"
    simulated = "joules" in last  # Real devices do not say what they take, and their clock is the wall's.
    if simulated:
        yield "Virtual time", human_seconds(last.get("seconds", 0.0))
        yield "Energy on devices", human_joules(last["joules"])
    yield "Wall time", human_seconds(result.wall) + " for the rounds" * simulated
    if result.job.engines_refused:
        why = "; ".join(f"{name}: {reason}" for name, reason in result.job.engines_refused.items())
        yield "Engine", f"{escape(result.job.engine or '')} [dim]({escape(why)})[/]"
    yield from _target(result)
    if result.job.attack is not None and result.malicious:
        yield "Attack", f"{escape(result.job.attack.name)} by {_listed(result.malicious)}"
    for i, (why, names) in enumerate(_by_reason(result.cut_off).items()):
        yield "In quarantine" if i == 0 else "", f"{_listed(names)}: {escape(why)}"
    surplus = result.counts.get(SURPLUS, 0)
    if surplus:
        yield "Over-selection", f"{surplus:,} updates came when their round had enough"
    yield from _mishaps(result.counts, result.reasons)
    if result.folder is not None:
        yield "Run folder", escape(str(result.folder))


def _by_reason(cut_off: Mapping[str, str]) -> dict[str, list[str]]:
    """Nodes by why they are in quarantine."""
    reasons: dict[str, list[str]] = {}
    for who, why in cut_off.items():
        reasons.setdefault(why, []).append(who)
    return reasons


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return f"{escape(', '.join(names[:NAMES_SHOWN]))}{more}"


def _answer(sums: Mapping[str, float]) -> str:
    """The first of a query's sums."""
    shown = ", ".join(f"{escape(name)} {value:,.6g}" for name, value in list(sums.items())[:SUMS_SHOWN])
    return f"{shown} and {len(sums) - SUMS_SHOWN:,} more" if len(sums) > SUMS_SHOWN else shown or "too few answered"


def _baseline(result: RunRecord, baseline: Baseline) -> str:
    """What it reaches, and what federation gains or costs beside it."""
    failed = f"{baseline.failures:,} without a model (first: {escape(baseline.reason)})" if baseline.failures else ""
    told = "; ".join([*_on_common_examples(result, baseline), *_on_own_examples(result, baseline)])
    if not told:
        return f"[yellow]{failed}[/]"
    return f"{told} [dim]({failed})[/]" if failed else told


def _on_common_examples(result: RunRecord, baseline: Baseline) -> Iterator[str]:
    """Judged on what the run's model is judged on too."""
    headline, value, spread = result.headline, baseline.value(result.headline), baseline.models
    if value is None or (spread is None and baseline.devices is not None):
        return
    if spread is None:
        yield _metrics(result, {headline: value} | (baseline.metrics or baseline.held_out))
    else:
        yield f"{escape(headline)} of {len(spread.values):,} models: {_spread(result, spread)}"
    yield from _apart(result, result.value(), value)


def _on_own_examples(result: RunRecord, baseline: Baseline) -> Iterator[str]:
    """Of models of their own, each judged on what its device holds out, as the run's model is there."""
    spread = baseline.devices
    if spread is not None:
        of = f"{len(spread.values):,} models on examples of their own devices that never train"
        yield f"{escape(result.headline)} of {of}: {_spread(result, spread)}"
        yield from _apart(result, None if result.devices is None else result.devices.mean, spread.mean)


def _apart(result: RunRecord, run: float | None, value: float) -> Iterator[str]:
    """What federation gains or costs, if both are known."""
    if run is None or not math.isfinite(run - value):
        return
    better = (run > value) == result.higher_is_better
    apart = escape(human_difference(result.headline, run - value, result.units.get(result.headline, "")))
    yield f"federation {'gains' if better else 'costs'} {apart}" if run != value else "as the run"


def _attendance(devices: Sequence[float]) -> str:
    fewest, most = min(devices), max(devices)
    return f"{most:,.0f}" if fewest == most else f"{fewest:,.0f} to {most:,.0f}, {devices[-1]:,.0f} in the last"


def _target(result: RunRecord) -> Iterator[tuple[str, str]]:
    reached, target = result.reached, result.job.evaluation.target
    if reached is not None:
        spent = [human_bytes(reached.bytes)] * (reached.bytes > 0) + [human_joules(reached.joules)] * (
            reached.joules > 0
        )
        cost = ", ".join([human_seconds(reached.seconds), *spent])
        goal = _value(result, result.headline, reached.target)
        yield "Target reached", f"[green]{goal}[/] in round {reached.round}: {cost}"
    elif target is not None:
        yield "Target", f"[yellow]{_value(result, result.headline, target)} not reached[/]"


def _mishaps(counts: Mapping[str, int], reasons: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    seen = {what: count for what, count in counts.items() if count and what != SURPLUS}
    if not seen:
        yield "What went wrong", "nothing"
    for i, (what, count) in enumerate(sorted(seen.items(), key=lambda item: -item[1])):
        reason = f" [dim](first: {escape(reasons[what])})[/]" if what in reasons else ""
        yield "What went wrong" if i == 0 else "", f"{count:,} {escape(what)}{reason}"


def _beside_common(result: RunRecord, own: Spread, common: Spread) -> str:
    """How devices fare with the model that they received, and what one of their own gains."""
    told = [f"{escape(result.headline)} on the same examples: {_spread(result, common)}"]
    unit = result.units.get(result.headline, "")
    if own.mean != common.mean:
        gains = "gains" if (own.mean > common.mean) == result.higher_is_better else "costs"
        told.append(f"their own {gains} {escape(human_difference(result.headline, own.mean - common.mean, unit))}")
    better = next((row["common/better"] for row in reversed(result.history) if "common/better" in row), None)
    if better is not None:
        told.append(f"is no worse on {better:,.0f} of {common.count:,}")
    return "; ".join(told)


def _value(result: RunRecord, name: str, value: float) -> str:
    return escape(human_metric(name, value, result.units.get(name, "")))


def _metrics(result: RunRecord, metrics: Mapping[str, float]) -> str:
    return ", ".join(
        f"{escape(name)} {'[bold]' if i == 0 else ''}{_value(result, name, value)}{'[/]' if i == 0 else ''}"
        for i, (name, value) in enumerate(metrics.items())
    )


def _spread(result: RunRecord, spread: Spread) -> str:
    mean, worst, std = (_value(result, result.headline, v) for v in (spread.mean, spread.worst_decile, spread.std))
    return f"mean {mean}, worst tenth {worst}, std {std}"


def _groups(result: RunRecord, spread: Spread) -> str:
    """Every fog, or the outermost of many."""
    values = list(spread.values.items())
    if len(values) > FOGS_SHOWN:
        ordered = sorted(values, key=lambda item: item[1])
        return f"lowest {_named(result, ordered[:3])} … highest {_named(result, ordered[-2:])}"
    return _named(result, values)


def _named(result: RunRecord, values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{escape(name)} {_value(result, result.headline, value)}" for name, value in values)
