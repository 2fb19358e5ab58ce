"""What people see while a run is under way: a live panel in a terminal or a notebook, sparse lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from rich.console import Console, Group, RenderableType
from rich.live import Live as LiveDisplay
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from fogline.jobs import Job
from fogline.monitoring.human import human_bytes, human_joules, human_metric, human_seconds, traffic
from fogline.monitoring.mishaps import lost_in_words
from fogline.monitoring.result import Result, Row
from fogline.monitoring.table import BOOKKEEPING, to_html

LINES = 20
"""Plain lines that a run prints, roughly."""
WINDOW = 20
"""Rounds from which the time left is estimated."""
WIDTH = 88
BLOCKS = "▁▂▃▄▅▆▇█"
FAVOURITES = ("accuracy", "auc", "f1", "rmse", "mae")


@runtime_checkable
class Progress(Protocol):
    """Is told how a run goes. The calls come in this order, from one thread."""

    def started(self, job: Job, population: int, fogs: int, headline: str = "", unit: str = "") -> None:
        """The run is set up: so many devices below so many aggregators, the last tier's.

        ``headline``: the metric to show, in ``unit``; if empty, it is guessed from the first row that has one.
        """
        ...

    def engine(self, name: str, chunk: int, processes: int) -> None:
        """The training engine, the devices it trains together, and the worker processes (0: none)."""
        ...

    def round(self, row: Row) -> None:
        """A root round is over. ``row["round"]`` is 1 for the first."""
        ...

    def note(self, text: str) -> None:
        """Something that people should know."""
        ...

    def finished(self, result: Result) -> None:
        """Show that the run is over, and what came of it."""
        ...

    def close(self) -> None:
        """Always called last, also after an error; may be called twice."""
        ...


class Silent:
    """A progress display that shows nothing."""

    def started(self, job: Job, population: int, fogs: int, headline: str = "", unit: str = "") -> None:
        """Show nothing of the start."""

    def engine(self, name: str, chunk: int, processes: int) -> None:
        """Show nothing of the engine."""

    def round(self, row: Row) -> None:
        """Show nothing of a round."""

    def note(self, text: str) -> None:
        """Show nothing of a note."""

    def finished(self, result: Result) -> None:
        """Show nothing of the end."""

    def close(self) -> None:
        """Close nothing, as nothing is open."""


class Live:
    """Shows the run as it goes.

    In a terminal, a panel that a thread redraws. The thread starts with the first row, when all worker processes
    have been forked. In a notebook, the same panel, redrawn with every row. Elsewhere (a file, CI) about twenty
    plain lines a run, and one after every long silence of a slow one.

    Args:
        console: where to; standard error if None.
        patience: seconds of silence that are long; a twentieth of the time so far is never too long.
        clock: wall clock in seconds.
    """

    def __init__(
        self, console: Console | None = None, patience: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or _Forgiving(stderr=True)
        self._patience = patience
        self._clock = clock
        self._view = RunView(clock)
        self._screen: _Terminal | _Notebook | None = None
        self._said = (0, 0.0)
        self._began = 0.0

    def started(self, job: Job, population: int, fogs: int, headline: str = "", unit: str = "") -> None:
        """Show what run begins."""
        self._view.begin(job, headline, unit)
        self._began = self._clock()
        self._said = (0, self._began)
        below = f" below {_plural(fogs, 'aggregator')}" if fogs > 1 else ""
        self._print(
            f"[bold]{escape(job.name)}[/]: {escape(job.algorithm.name)} on {_plural(population, 'device')}{below}, "
            f"{_plural(job.rounds, 'round')}, seed {job.seed}"
        )

    def engine(self, name: str, chunk: int, processes: int) -> None:
        """Show which engine trains, and how many devices at once."""
        workers = _plural(processes, "worker process", "worker processes") if processes else "this process"
        self._print(f"Engine {escape(name)}: {_plural(chunk, 'device')} at a time, in {workers}")

    def round(self, row: Row) -> None:
        """Show the row, in the way that suits the place."""
        self._view.add(row)
        if self._console.is_jupyter or self._console.is_terminal:
            if self._screen is None:
                self._screen = _Notebook() if self._console.is_jupyter else _Terminal(self._console, self._view.panel)
            self._screen.show(self._view.panel)
        elif self._is_due(row):
            self._said = (int(row["round"]), self._clock())
            self._print(self._view.line())

    def note(self, text: str) -> None:
        """Print a line, above the panel if there is one."""
        self._print(escape(text))

    def finished(self, result: Result) -> None:
        """Take the panel away; what came out stands in the result's table."""
        self.close()
        name, value = result.headline, result.metrics.get(result.headline)
        shown = "" if value is None else human_metric(name, value, result.units.get(name, ""))
        metric = f": {escape(name)} {escape(shown)}" if shown else ""
        rounds = _plural(len(result.history), "round")
        if result.lost_rounds:
            rounds = f"{rounds}, {lost_in_words(result.lost_rounds, result.job.rounds)},"
        colour = "yellow" if result.lost_rounds else "green"
        self._print(f"[{colour}]Done[/] after {rounds} in {human_seconds(result.wall)}{metric}")

    def close(self) -> None:
        """Take the panel away and end the thread."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def _print(self, markup: str) -> None:
        whole = not self._console.is_terminal  # Who reads a file wants a line a note; a terminal would cut words.
        try:
            self._console.print(markup, highlight=False, soft_wrap=whole)
        except OSError:  # A full disk behind it: what is shown is not what counts.
            self._console.quiet = True

    def _is_due(self, row: Row) -> bool:
        """Whether a plain line is due: the first and the last round, steps of the whole, or a long silence."""
        done, step, (said, at) = int(row["round"]), self._view.step, self._said
        now = self._clock()
        silence = max(self._patience, (now - self._began) / LINES)  # A run of many hours need not say so much.
        return said == 0 or done >= self._view.rounds or done // step > said // step or now - at >= silence


class RunView:
    """What is known of the run, and how it looks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rounds = self._every = 1
        self._clock = clock
        self._title = ""
        self._headline = self._unit = ""
        self._target: float | None = None
        self._row: Row = {}
        self._values: list[float] = []
        self._start = clock()
        self._times: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def begin(self, job: Job, headline: str, unit: str) -> None:
        self.rounds = job.rounds
        self._every = job.evaluation.every
        self._title = f"{escape(job.name)} · {escape(job.algorithm.name)}"
        self._headline, self._unit, self._target = headline, unit, job.evaluation.target
        self._start = self._clock()

    def add(self, row: Row) -> None:
        self._headline = self._headline or guess_headline(row)
        self._row = row
        self._times.append((self._clock(), int(row["round"])))
        if self._headline in row:
            self._values.append(row[self._headline])

    def panel(self) -> RenderableType:
        """The picture for terminals and notebooks."""
        done = int(self._row.get("round", 0))
        bar = Table.grid(padding=(0, 2), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(self.rounds, done), f"round [bold]{done}[/] of {self.rounds}")
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim", no_wrap=True, min_width=12)
        facts.add_column()
        for name, value in self._facts():
            facts.add_row(name, value)
        return Panel(Group(bar, "", facts), title=self._title, title_align="left", width=WIDTH, border_style="cyan")

    @property
    def step(self) -> int:
        """Rounds between two plain lines: about ``LINES`` of them a run, on rounds that are judged."""
        return -(-self.rounds // (LINES * self._every)) * self._every

    def line(self) -> str:
        """The same in one line."""
        down, up = (
            (sum(amounts) for amounts in zip(*traffic(self._row).values(), strict=True)) if self._traffic() else (0, 0)
        )
        parts = [
            f"round {int(self._row['round'])}/{self.rounds}",
            f"{escape(self._headline)} {self._metric()}" if self._headline in self._row else "",
            _plural(int(self._row["devices"]), "device") if "devices" in self._row else "",
            f"clock {human_seconds(self._row.get('seconds', 0.0))}",
            f"{human_bytes(down)} down, {human_bytes(up)} up" if down or up else "",
            self._left_text(),
        ]
        return "  ".join(part for part in parts if part)

    def _facts(self) -> list[tuple[str, str]]:
        row = self._row
        facts: list[tuple[str, str]] = []
        if self._values:
            goal = f"  [dim]target {self._human(self._target)}[/]" if self._target is not None else ""
            facts.append((escape(self._headline), f"[bold]{self._metric()}[/]  {_spark(self._values)}{goal}"))
        if "devices" in row:
            facts.append(("devices", f"{int(row['devices']):,} in the round"))
        energy = f", {human_joules(row['joules'])} on devices" if "joules" in row else ""
        if energy:
            facts.append(("clock", f"{human_seconds(row.get('seconds', 0.0))} of virtual time{energy}"))
        facts += [
            (f"below {escape(tier)}", f"↓ {human_bytes(down)}  ↑ {human_bytes(up)}")
            for tier, (down, up) in traffic(row).items()
        ]
        wall = human_seconds(self._clock() - self._start)
        left = f", {self._left_text()}" if self._left_text() else ""
        facts.append(("wall", f"{wall}{left}"))
        return facts

    def _traffic(self) -> bool:
        return bool(traffic(self._row))

    def _metric(self) -> str:
        """The headline metric as it was last judged."""
        return self._human(self._values[-1])

    def _human(self, value: float) -> str:
        return escape(human_metric(self._headline, value, self._unit))

    def _left_text(self) -> str:
        if len(self._times) < 2:  # The first round carries the setting-up, or a resumed run's whole past.
            return ""
        left = self._left()
        return "under a second left" if left < 1 else f"about {human_seconds(left)} left"

    def _left(self) -> float:
        """Seconds of wall time that the remaining rounds take at the pace of the last ones."""
        (first, a), (last, b) = self._times[0], self._times[-1]
        pace = (last - first) / max(b - a, 1)
        return max(0.0, pace * (self.rounds - b) - (self._clock() - last))


class _Forgiving(Console):
    """A console that is silent once nobody reads it; by default it would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _Terminal:
    """A panel that a thread redraws, so that the clock ticks during long rounds."""

    def __init__(self, console: Console, draw: Callable[[], RenderableType]) -> None:
        self._live = LiveDisplay(get_renderable=draw, console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def show(self, draw: Callable[[], RenderableType]) -> None:
        self._live.refresh()

    def close(self) -> None:
        self._live.stop()


class _Notebook:
    """A cell's output that is replaced with every row. No thread, no widgets."""

    def __init__(self) -> None:
        self._display: Any = import_module("IPython.display")
        self._handle: Any = None

    def show(self, draw: Callable[[], RenderableType]) -> None:
        html = self._display.HTML(to_html(draw()))
        if self._handle is None:
            self._handle = self._display.display(html, display_id=True)
        else:
            self._handle.update(html)

    def close(self) -> None:
        """The last picture stays."""


def guess_headline(row: Row) -> str:
    """The metric that people look at first, if the row has any."""
    known = [name for name in row if name not in BOOKKEEPING and "/" not in name]
    return next((name for name in FAVOURITES if name in known), "loss" if "loss" in known else "")


def _spark(values: list[float], width: int = 32) -> str:
    """A small curve of the values; not finite ones are gaps."""
    picked = values if len(values) <= width else [values[i * (len(values) - 1) // (width - 1)] for i in range(width)]
    finite = [value for value in picked if abs(value) < float("inf")]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((v - low) * scale)] if abs(v) < float("inf") else " " for v in picked)


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
