"""Fogline's prediction server against a bare ASGI application, FastAPI, MLServer and LitServe.

    python -m benchmarks.serving [--quick] [--peers fastapi mlserver litserve] [--models mlp cnn]

All serve the same ONNX file with one thread of ONNX Runtime, over kept connections, asked by `wrk`; each at its best
setting (see `run_asgi.py`), Fogline with everything on (see `ours.py`). Fogline and the bare application
are asked in binary, the others, which do not know that, in JSON; `fogline_json` is Fogline asked in JSON too. The
servers take turns, and a ratio is the median over turns of the ratio within a turn. Keys of the last line:

- ``p50_over_bare``: median latency of one connection over the bare application's; of the models, the worse;
- ``p99_over_bare``: the same of the 99th percentiles;
- ``json_over_binary``: our median latency in JSON over that in binary, with 32 examples of one connection, for the MLP
  (whose arithmetic is next to nothing);
- ``mlserver_p50_over_ours``: MLServer's over ours; of the models, the worse;
- ``resident_mb``: resident memory of our server process, after the load; of the models, the larger;
- ``swap_failed_requests``: of those that were asked while versions were swapped four times a second;
- ``swap_p99_ratio``: 99th percentile of latency meanwhile, over that without swaps;
- ``detail``: by model, load and server: latencies (µs), requests per second, processor time per request (µs), and
  memory (MB).
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.common import ROOT, SCRATCH, console, median, report
from benchmarks.network.tree import family, resident_mb
from benchmarks.serving.load import Body, load, make_bodies, make_models
from benchmarks.serving.ours import Ours

VENVS = SCRATCH / "venvs"
ENGINE = ("onnxruntime==1.31.1", "numpy==2.4.6")
PINS = {
    "fastapi": ("fastapi==0.165.0", "uvicorn==0.54.0", "httptools==0.9.0", "uvloop==0.23.0"),
    "mlserver": ("mlserver==1.7.1", "uvloop==0.21.0"),  # Its newest release does not start with a newer uvloop.
    "litserve": ("litserve==0.2.19",),
}
HOSTS = {"bare": "fastapi"}
"""In whose environment those run that have none."""
SERVERS = ("fogline", "fogline_json", "bare", *PINS)
BINARY = ("fogline", "bare")
OWN_FILES = ("mlserver", "litserve")
LOADS = {"one": (1, 1), "eight": (8, 1), "batch_8": (1, 8), "batch_32": (1, 32)}
"""Connections and batch."""


@dataclass(frozen=True)
class Server:
    name: str
    pid: int
    url: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short runs, to see that everything works; not saved")
    parser.add_argument("--peers", nargs="*", choices=list(PINS), default=list(PINS))
    parser.add_argument("--models", nargs="+", choices=("mlp", "cnn"), default=["mlp", "cnn"])
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk, which is not installed.")
    missing = {peer: why for peer in options.peers if (why := prepare(peer))}
    if why := missing.get(HOSTS["bare"]) or prepare(HOSTS["bare"]):
        raise SystemExit(f"The bare application, which all are compared with, cannot be installed: {why}")
    peers = [peer for peer in options.peers if peer not in missing]
    turns, seconds = (2, 1) if options.quick else (5, 2)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_models(Path(folder))
        models = {m: measure(m, paths[m], Path(folder), peers, turns, seconds) for m in options.models}
    result = {**headlines(models), "missing": missing, "detail": models}
    complete = not options.quick and set(options.peers) == set(PINS) and len(models) == 2
    report("serving", result, keep=complete)


def prepare(peer: str) -> str:
    """Make a peer's environment; why it could not be made, or nothing."""
    home, wanted = VENVS / f"serving-{peer}", "\n".join((*ENGINE, *PINS[peer]))
    stamp = home / "pins.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    with console.status(f"installing {peer}"):
        venv.create(home, with_pip=True, symlinks=True, clear=True)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *ENGINE, *PINS[peer]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr[-500:]
    stamp.write_text(wanted)
    return ""


# One model


def measure(
    model: str, path: Path, folder: Path, peers: list[str], turns: int, seconds: int
) -> dict[str, dict[str, Any]]:
    """All servers under all loads, and swaps."""
    bodies = make_bodies(folder, model, {batch for _, batch in LOADS.values()})
    with ExitStack() as stack:
        ours = Ours(model, path, folder)
        stack.callback(ours.stop)
        url = f"http://{ours.address}/v2/models/m/infer"
        servers = [Server("fogline", ours.pid, url), Server("fogline_json", ours.pid, url)]
        servers += [stack.enter_context(started(name, path, folder)) for name in ("bare", *peers)]
        for server in servers:
            check(server, load(server.url, bodies["json" if server.name not in BINARY else "binary", 1], 2, 1))
        found: dict[str, dict[str, Any]] = {
            name: under(servers, bodies, *how, turns, seconds) for name, how in LOADS.items()
        }
        show(model, found)
        for server in servers:
            found["one"][server.name] |= memory(server.pid)
        found["swaps"] = swaps(ours, url, bodies["binary", 1], turns, seconds)
        console.print(found["swaps"])
    return found


def check(server: Server, row: dict[str, float]) -> None:
    """A server that answers with errors would look quick."""
    if row["failed"] or not row["requests"]:
        raise SystemExit(f"{server.name} failed {row['failed']} of {row['requests']} requests")


@contextmanager
def started(name: str, path: Path, folder: Path) -> Generator[Server]:
    port = free_port()
    python = VENVS / f"serving-{HOSTS.get(name, name)}" / "bin" / "python"
    script = ROOT / "benchmarks" / "serving" / f"run_{name if name in OWN_FILES else 'asgi'}.py"
    arguments = [str(path), str(port), name]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(python), str(script), *arguments], stdout=log, stderr=log, env=environment)
    try:
        wait_for(port, process, folder / f"{name}.log")
        yield Server(name, process.pid, f"http://127.0.0.1:{port}/v2/models/m/infer")
    finally:
        below = family(process.pid)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        for pid in below[1:]:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, 9)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until something answers there."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/live", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"a server did not start:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Loads


def under(
    servers: list[Server],
    bodies: dict[tuple[str, int], Body],
    connections: int,
    batch: int,
    turns: int,
    seconds: int,
) -> dict[str, Any]:
    """Every server under one load, in turns."""
    rows: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for _ in range(turns):
        for server in servers:
            body = bodies["binary" if server.name in BINARY else "json", batch]
            before = cpu_us(server.pid)
            row = load(server.url, body, connections, seconds)
            row["cpu_us"] = (cpu_us(server.pid) - before) / max(row["requests"], 1)
            row["rps"] = row["requests"] / row["seconds"]
            rows[server.name].append(row)
    return {name: summed_up(taken, rows) for name, taken in rows.items()}


def summed_up(taken: list[dict[str, float]], rows: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    middle = {key: round(median(row[key] for row in taken), 1) for key in ("p50", "p99", "rps", "cpu_us")}
    ours, bare = rows["fogline"], rows["bare"]
    return {
        **middle,
        "failed": sum(row["failed"] for row in taken),
        "p50_over_ours": round(median(a["p50"] / b["p50"] for a, b in zip(taken, ours, strict=True)), 3),
        "p50_over_bare": round(median(a["p50"] / b["p50"] for a, b in zip(taken, bare, strict=True)), 3),
        "p99_over_bare": round(median(a["p99"] / b["p99"] for a, b in zip(taken, bare, strict=True)), 3),
    }


def cpu_us(pid: int) -> float:
    """Processor time of a process and those below it, in microseconds."""
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * 1e6 / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, float]:
    """Of a process and those below it, in MB: resident, and with pages that others use too divided among them."""
    pss = 0
    for one in family(pid):
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        pss += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    resident = sum(resident_mb(one) for one in family(pid))
    return {"resident_mb": round(resident, 1), "pss_mb": round(pss * 1024 / 1e6, 1)}


def swaps(ours: Ours, url: str, body: Body, turns: int, seconds: int) -> dict[str, float]:
    """Load of eight connections without and with swaps, in turns."""
    ratios, failed, requests, before = [], 0, 0, ours.version
    for _ in range(turns):
        calm = load(url, body, 8, seconds)
        ended = threading.Event()
        swapper = threading.Thread(target=keep_swapping, args=(ours, ended))
        swapper.start()
        wild = load(url, body, 8, seconds)
        ended.set()
        swapper.join()
        ratios.append(wild["p99"] / calm["p99"])
        failed += int(wild["failed"])
        requests += int(wild["requests"])
    return {
        "p99_ratio": round(median(ratios), 2),
        "failed": failed,
        "requests": requests,
        "swaps": ours.version - before,
    }


def keep_swapping(ours: Ours, ended: threading.Event) -> None:
    while not ended.wait(0.25):
        ours.next_version()


# What is reported


def headlines(models: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    one = [found["one"] for found in models.values()]
    mlserver = [found["mlserver"]["p50_over_ours"] for found in one if "mlserver" in found]
    return {
        "p50_over_bare": max(found["fogline"]["p50_over_bare"] for found in one),
        "p99_over_bare": max(found["fogline"]["p99_over_bare"] for found in one),
        "json_over_binary": models["mlp"]["batch_32"]["fogline_json"]["p50_over_ours"] if "mlp" in models else None,
        "mlserver_p50_over_ours": min(mlserver, default=None),
        "resident_mb": max(found["fogline"]["resident_mb"] for found in one),
        "swap_failed_requests": sum(found["swaps"]["failed"] for found in models.values()),
        "swap_p99_ratio": max(found["swaps"]["p99_ratio"] for found in models.values()),
    }


def show(model: str, found: dict[str, dict[str, Any]]) -> None:
    columns = ("p50", "p99", "rps", "cpu_us", "failed", "p50_over_bare", "p99_over_bare")
    table = Table("load", "server", *columns, title=f"{model}: latencies in µs")
    for name, servers in found.items():
        for server, values in servers.items():
            table.add_row(name, server, *(str(values[column]) for column in columns))
    console.print(table)


if __name__ == "__main__":
    main()
