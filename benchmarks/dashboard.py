"""The page with a tree of 10,000 simulated devices below 100 fogs: how soon it is there, how soon it shows what has
changed, and what it costs the run.

``python -m benchmarks.dashboard [--repeats 3] [--rounds 8]``, with Debian's chromium, headless:

- ``first_paint_s``: from the beginning of the navigation until every fog's card that is in view is drawn, with its
  devices; median over pages that are opened anew;
- ``update_ms``: from the moment before a snapshot is written into the run's folder until the page has drawn it: median
  and, as ``update_p95_ms``, the 95th percentile over 40 of them, each of which changes the state of all devices;
- ``training_cost``: seconds that a run takes with the page open, over those without: the same job, in turns; medians of
  its own wall clock, both on all cores. ``run_s`` holds every single one.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Page, async_playwright

import fogline
from benchmarks.common import console, median, report
from fogline.dashboard.runs import RunsBoard
from fogline.dashboard.server import served
from fogline.data import from_arrays
from fogline.jobs.tree import Tier, Tree
from fogline.monitoring.run_files import RunFiles
from fogline.monitoring.tree_state import SnapshotWriter, TreeSnapshot

DEVICES, FOGS, EXAMPLES, FEATURES, CLASSES = 10_000, 100, 10, 32, 10
UPDATES, PAINTS, LETTERS = 40, 7, "twlorf"
BETWEEN = 1.0
"""Seconds between two snapshots, as a run leaves at least."""
MARK = """
window.drawn = () => {
  const inView = [...document.querySelectorAll('.card canvas')].filter((one) => {
    const { top, height } = one.getBoundingClientRect();
    return height && top < innerHeight;
  });
  return inView.length > 4 && inView.every((one) => one.drawn);
};
window.seen = {};
const look = () => {
  const text = document.querySelector('.states')?.innerText ?? '';
  if (window.painted === undefined && window.drawn()) window.painted = performance.now();
  if (window.seen[text] === undefined) window.seen[text] = Date.now();
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
"""In every frame, what is drawn, and when each count of states was there first."""
PAINTED = """() => new Promise((done) => {
  const look = () => (window.painted === undefined ? requestAnimationFrame(look) : done(window.painted));
  look();
})"""
SHOWN = """(text) => new Promise((done) => {
  const look = () => {
    const found = Object.entries(window.seen).find(([seen]) => seen.includes(text));
    if (found) done(found[1]);
    else requestAnimationFrame(look);
  };
  look();
})"""


def simulate(folder: Path, rounds: int) -> None:
    """The run, in a process of its own."""
    from torch import nn

    rng = np.random.default_rng(0)
    y = rng.integers(CLASSES, size=DEVICES * EXAMPLES)
    x = (rng.normal(size=(CLASSES, FEATURES))[y] + rng.normal(size=(y.size, FEATURES))).astype(np.float32)
    data = from_arrays("made", x, y, np.split(np.arange(y.size), DEVICES), classes=CLASSES)
    task = fogline.Task(lambda: nn.Linear(FEATURES, CLASSES), data)
    tree = Tree(cloud=Tier(), fog=Tier(count=FOGS))
    local = {"learning_rate": 0.1, "batch_size": 10, "epochs": 4}
    fogline.simulate(task, tree=tree, rounds=rounds, local=local, folder=folder, progress=False, engine="stacked")


def run(folder: Path, rounds: int) -> subprocess.Popen[bytes]:
    """Start it."""
    command = [sys.executable, "-m", "benchmarks.dashboard", "--simulate", str(folder), "--rounds", str(rounds)]
    return subprocess.Popen(command, stdout=sys.stderr)


def wall(folder: Path) -> float:
    """Seconds that a finished run took, by its own clock, from its first to its last round."""
    history = RunFiles(folder).history()
    return history[-1]["wall"] - history[0]["wall"]


@asynccontextmanager
async def browsed(board: RunsBoard, marked: bool = True) -> AsyncGenerator[tuple[Page, str]]:
    """A page on a board, and its address. ``marked``: with what looks at it in every frame, which costs something."""
    async with served(board) as serving, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page()
        if marked:
            await page.add_init_script(MARK)
        await page.goto(serving.address)
        try:
            yield page, serving.address.partition("#")[0]
        finally:
            await browser.close()


async def paints(folder: Path) -> list[float]:
    """Seconds until the tree is drawn."""
    found: list[float] = []
    async with browsed(RunsBoard([folder])) as (page, address):
        for _ in range(PAINTS):
            found.append(await page.evaluate(PAINTED) / 1000)
            await page.goto("about:blank")
            await page.goto(address)
    return found[1:]  # The first one starts the browser, too.


async def updates(folder: Path) -> list[float]:
    """Milliseconds from a snapshot to the page that shows it."""
    files, found = RunFiles(folder), list[float]()
    writer = SnapshotWriter(files.tree)
    async with browsed(RunsBoard([folder])) as (page, _):
        await page.evaluate(PAINTED)
        for i in range(UPDATES):
            trains = 1000 + 37 * i
            states = ("t" * trains + "w" * (DEVICES - trains))[:: -1 if i % 2 else 1]
            began = time.time()
            writer.write(TreeSnapshot(round=i, states=states, seconds=float(i)))
            text = f"{trains:,} train"
            found.append(await page.evaluate(SHOWN, text) - 1000 * began)
            await asyncio.sleep(BETWEEN)
    return found


async def watched(folder: Path, rounds: int) -> None:
    """A run with its page open from the first moment to the last."""
    process = run(folder, rounds)
    while not (folder / "nodes.json").exists():
        await asyncio.sleep(0.05)
    async with browsed(RunsBoard([folder]), marked=False) as (page, _):
        await asyncio.to_thread(process.wait)
        await page.locator(".card").first.wait_for()


def measure(scratch: Path, repeats: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    times: dict[str, list[float]] = {"without": [], "with": []}
    for i in range(repeats):
        for how in ("without", "with") if i % 2 == 0 else ("with", "without"):
            folder = scratch / f"{how}-{i}"
            if how == "with":
                asyncio.run(watched(folder, rounds))
            else:
                run(folder, rounds).wait()
            times[how].append(wall(folder))
            console.print(f"{how} the page: {times[how][-1]:.2f} s")
    drawn, shown = asyncio.run(paints(folder)), asyncio.run(updates(folder))
    return {
        "devices": DEVICES,
        "fogs": FOGS,
        "first_paint_s": round(median(drawn), 3),
        "update_ms": round(median(shown), 1),
        "update_p95_ms": round(float(np.percentile(shown, 95)), 1),
        "training_cost": round(median(times["with"]) / median(times["without"]), 3),
        "run_s": {how: [round(one, 2) for one in found] for how, found in times.items()},
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--simulate", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate is not None:
        simulate(options.simulate, options.rounds)
        return
    with tempfile.TemporaryDirectory(prefix="fogline-dashboard-") as scratch:
        report("dashboard", measure(Path(scratch), options.repeats, options.rounds))


if __name__ == "__main__":
    main()
