"""What people see of ``fogline up``: the tree and the rounds, live in a terminal, in sparse lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live as LiveDisplay

from fogline.cli.commands.up.plan import StartPlan
from fogline.cli.commands.up.tree import TreeState
from fogline.monitoring.human import human_seconds
from fogline.monitoring.progress import Live, RunView
from fogline.monitoring.result import Row
from fogline.network.node.status import StatusChange

BAD = ("lost", "refused", "failed")


class Display:
    """Shows a run.

    Args:
        state: the tree.
        quiet: show nothing.
    """

    def __init__(self, state: TreeState, quiet: bool) -> None:
        self.state = state
        self._console = Console(stderr=True, quiet=quiet)
        self._lines = Live(self._console)
        self._view = RunView(time.monotonic)
        self._rounds = False
        self._began = time.monotonic()
        self._whole: set[str] = set()
        self._live: LiveDisplay | None = None

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = LiveDisplay(
                get_renderable=self._picture, console=self._console, refresh_per_second=4, transient=True
            )
            self._live.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def began(self, plan: StartPlan, headline: str, unit: str) -> None:
        """The job is under way."""
        above = [node.parent for node in plan.nodes if node.role == "device"]
        self._view.begin(plan.job, headline, unit)
        self._lines.started(plan.job, len(above), len(set(above)), headline, unit)
        self._rounds = True

    def round(self, row: Row) -> None:
        """A round is over."""
        self._view.add(row)
        if self._live is None:
            self._lines.round(row)

    def changed(self, name: str, change: StatusChange) -> None:
        """A node's state is another now."""
        if change.what in BAD:
            who = f" {change.who}" if change.who else ""
            self.note(f"{name}: {change.what}{who}{': ' if change.why else ''}{change.why}")
        self._count()

    def _count(self) -> None:
        """Say it once when all fogs, and when all devices, are connected."""
        for role in ("fog", "device"):
            there, of = self.state.count(role, "connected", "loading", "training")
            if of and there == of and role not in self._whole:
                self._whole.add(role)
                after = human_seconds(time.monotonic() - self._began)
                self.note(f"{of} {role}{'s' if of > 1 else ''} connected after {after}")

    def _picture(self) -> RenderableType:
        tree = self.state.picture()
        return Group("", tree, "", self._view.panel()) if self._rounds else Group("", tree)
