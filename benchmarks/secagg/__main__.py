"""What secure aggregation costs a client and the server, in processor time and in bytes, beside others.

    python -m benchmarks.secagg [--quick | --full] [--python PATH]
    python -m benchmarks.secagg --processes [--quick]

For 100 and 1,000 clients, 200,000 and 2 million numbers, and 0, 5, 10 and 30 % of the clients gone before they send
what they send of their update: a *plain* sum, our ``secagg``, *Flower*'s SecAgg+ (in an environment of its own, or that
of ``--python``), and homomorphic encryption (our ``ckks``, with *TenSEAL*). Time is the processor's, of one thread; a
client's is the sum of its steps, each at the median of the clients that were timed.

Rounds of ours are played by hand, by all clients in all steps; the largest updates only by some. Such rows say
``sampled``: a round was played in full with 2,000 numbers, then three of its clients took the step that holds the
update again with a large one, and to the server's time comes that of as many additions and masks. With ``--full`` only
those of 1,000 clients with 2 million numbers are sampled. TenSEAL's are all sampled so; Flower's are one client's, with
real keys and shares of as many peers as ours have, and for the server its functions times how often it calls them.

- ``client_over_cipher``: a client's seconds, over those of one pass of the cipher and one addition of the vector for
  each of its peers. The largest over all settings. It has met its peers before: whose their lasting keys are, and what
  it has in common with them, is kept from round to round. ``first_seconds``: where it meets all of them (by a signature
  of the kind that simulations have; a node's certificates take longer).
- ``bytes_over_plain``: what a client sends, over its update as it is. The largest.
- ``flower_over_ours``: a client's seconds with Flower, over ours. The smallest. ``flower_over_first``: over ours where
  it meets its peers for the first time.
- ``tenseal_over_ours``: likewise, and its bytes.

``--processes`` plays rounds between a cloud and devices that are processes, over mutual TLS, with each exchange and
without, and says how long a round takes, and what of the processor's time devices and cloud.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import venv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import SCRATCH, console, report
from benchmarks.secagg import encrypted, masked
from benchmarks.secagg.rounds import SMALL
from fogline.privacy.graph import needed

PIN = "flwr==1.41.0"
HERE = Path(__file__).parent
SHARES = (0.0, 0.05, 0.1, 0.3)
SIZES = (200_000, 2_000_000)


def environment() -> Path:
    """The interpreter of Flower's environment, made if it is not there."""
    folder = SCRATCH / "venvs" / "secagg-flower"
    python = folder / "bin" / "python"
    if not python.exists():
        with console.status(f"installing {PIN}"):
            venv.create(folder, with_pip=True, symlinks=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", PIN], check=True)
    return python


def flower(python: Path, clients: int, peers: int, gone: int, size: int) -> dict[str, Any]:
    """Flower's side, with as many peers as ours, of whom as many are needed."""
    wanted = needed(peers, masked.exchange_for(clients).threshold)
    given = {"clients": clients, "peers": peers, "needed": wanted, "gone": gone, "size": size}
    command = [str(python), str(HERE / "run_flower.py"), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRATCH)
    if done.returncode:
        raise SystemExit(f"Flower's side failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def row(python: Path, clients: int, share: float, sizes: tuple[int, ...], full: bool) -> list[dict[str, Any]]:
    """All sides, for updates of these sizes."""
    rng = np.random.default_rng(0)
    gone = set(rng.choice(clients, round(share * clients), replace=False).tolist())
    small = {"secagg": masked.small_round(clients, gone, SMALL), "tenseal": encrypted.small_round(clients, gone, SMALL)}
    rows: list[dict[str, Any]] = []
    for size in sizes:
        whole = full and clients * size < 10**9
        ours = masked.costs(masked.small_round(clients, gone, size) if whole else small["secagg"], size)
        theirs = flower(python, clients, ours["peers"], len(gone), size)
        tenseal = encrypted.costs(small["tenseal"], size)
        rows.append(
            {
                "clients": clients,
                "parameters": size,
                "gone": share,
                "plain": masked.plain(clients, size),
                "secagg": ours,
                "flower": theirs,
                "tenseal": tenseal,
                "flower_over_ours": theirs["client_seconds"] / ours["client_seconds"],
                "flower_over_first": theirs["client_seconds"] / ours["first_seconds"],
                "flower_server_over_ours": theirs["server_seconds"] / ours["server_seconds"],
                "tenseal_over_ours": tenseal["client_seconds"] / ours["client_seconds"],
            }
        )
        console.print({name: rows[-1][name] for name in rows[-1] if not isinstance(rows[-1][name], dict)})
    return rows


def measured(python: Path, quick: bool, full: bool) -> dict[str, Any]:
    settings = [(100, share) for share in ((0.1,) if quick else SHARES)]
    settings += [] if quick else [(1000, share) for share in SHARES]
    sizes = SIZES[:1] if quick else SIZES
    rows = [one for clients, share in settings for one in row(python, clients, share, sizes, full)]
    return {
        "client_over_cipher": max(one["secagg"]["client_over_cipher"] for one in rows),
        "bytes_over_plain": max(one["secagg"]["bytes_over_plain"] for one in rows),
        "flower_over_ours": min(one["flower_over_ours"] for one in rows),
        "flower_over_first": min(one["flower_over_first"] for one in rows),
        "tenseal_over_ours": min(one["tenseal_over_ours"] for one in rows),
        "tenseal_bytes_over_plain": max(one["tenseal"]["bytes_over_plain"] for one in rows),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="100 clients, 200,000 numbers; the result is not saved")
    parser.add_argument("--full", action="store_true", help="rounds are played in full wherever it can be")
    parser.add_argument("--processes", action="store_true", help="rounds between processes instead")
    parser.add_argument("--python", type=Path, help="interpreter of an environment that has Flower")
    given = parser.parse_args()
    if given.processes:
        from benchmarks.secagg.processes import between_processes

        report("secagg_processes", between_processes(given.quick), keep=not given.quick)
    else:
        report("secagg", measured(given.python or environment(), given.quick, given.full), keep=not given.quick)


if __name__ == "__main__":
    main()
