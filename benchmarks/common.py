"""What every benchmark program shares: paths, the machine, the median, progress and the report."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = ROOT / ".benchmarks"  # ignored by git: environments, partial results

# Everything meant for people goes to standard error, so that standard output ends with the JSON line.
console = Console(stderr=True)


def report(name: str, result: dict[str, Any], keep: bool = True) -> None:
    """Print `result` as the last line; with `keep`, also save it with machine, date and commit.

    The saved file is benchmarks/results/<name>.json. Call this last: nothing may be printed after it.
    """
    if keep:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{name}.json"
        write_json(path, {**provenance(), "result": result})
        console.print(f"saved [bold]{path.relative_to(ROOT)}[/bold]")
    print(json.dumps(result), flush=True)


def provenance() -> dict[str, Any]:
    """Where and when a result was measured."""
    return {"machine": machine(), "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}


def machine() -> dict[str, Any]:
    """The processor, its cores that we may use, memory and software versions; no host name."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """The checked-out commit, with "+" when the tree differs from it; None outside a repository."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return head and head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def median(values: Iterable[float]) -> float:
    return float(statistics.median(values))


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, minimum and maximum of repeated timings."""
    numbers = [float(value) for value in values]
    return {"median": median(numbers), "min": min(numbers), "max": max(numbers), "n": len(numbers)}


def progress() -> Progress:
    """A progress bar on standard error: `with progress() as bar: task = bar.add_task(text, total=n)`."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console)


def read_json(path: Path) -> Any:
    """The parsed file, or None when it does not exist."""
    return json.loads(path.read_text()) if path.exists() else None


def kept(path: Path, make: Callable[[], T]) -> T:
    """What was made and written there before, or is now: so a benchmark that was ended goes on where it was.

    Args:
        path: of the file.
        make: gives what JSON can hold.
    """
    found: T | None = read_json(path)
    if found is None:
        found = make()
        write_json(path, found)
    return found


def write_json(path: Path, value: object) -> None:
    """Write through a temporary file, so that an interrupted run leaves the old file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)
