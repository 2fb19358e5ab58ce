"""Checkpoints: all numbers that a run still needs, so that it can go on from there.

A resumed run repeats its past on the virtual clock without training, which is fast and gives back every node,
timer and message; what it cannot repeat are the numbers, and those come from the checkpoint. Values are matched by
the order in which they are reached from the keys, which is the same in both runs.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy.typing as npt
import safetensors

from fogline.aggregation import Partial, Update
from fogline.aggregation.gathering import Gathered
from fogline.algorithms.group import Down, GroupModel
from fogline.compute.exchange import Payload
from fogline.jobs.errors import JobError
from fogline.monitoring.mishaps import Mishaps
from fogline.nodes.messages import Key
from fogline.params import load_arrays, save_arrays
from fogline.simulation.exchanging import Outcome
from fogline.simulation.numbers import Numbers
from fogline.simulation.simulator import Simulator
from fogline.simulation.values import LazyValue, reachable
from fogline.storage.atomic import sweep_drafts, write_file

Arrays = dict[str, npt.NDArray[Any]]
FORMAT = 2
"""It changes when notes or numbers mean something else."""
NOTES = "notes.json"
NUMBERS = "numbers.safetensors"
PAIR = "pair"
"""Drawn for each checkpoint, and in both files of it: so that numbers of another are not taken for its own."""
NOTED = frozenset(("round", "layout", "kinds", "counts", "reasons", "tallies", "losses", "steps"))
"""What notes have at least."""


def write(
    folder: Path, round_index: int, simulator: Simulator, judged: Mapping[str, Mapping[Key, Outcome]] | None = None
) -> None:
    """Write a checkpoint after a round's model is known; an older one is replaced only when this one is whole.

    Args:
        folder: of the run's checkpoints.
        round_index: of the round.
        simulator: the run.
        judged: what the steps of devices' judgements came to, by round.
    """
    arrays: Arrays = {}
    kinds: dict[str, str] = {}
    for i, value in enumerate(_live(simulator.numbers)):
        if value.done and value.result is not None:
            kinds[str(i)] = type(value.result).__name__
            arrays |= {f"value/{i}/{name}": array for name, array in value.result.to_arrays().items()}
    for client, state in simulator.store.locals.items():
        arrays |= {f"local/{client}/{name}": vector for name, vector in state.items()}
    staging = simulator.store.staging
    for sender, state in ({} if staging is None else staging.states).items():
        arrays |= {f"sender/{sender}/{name}": vector for name, vector in state.items()}
    pair = secrets.token_hex(8)
    notes = {
        "format": FORMAT,
        PAIR: pair,
        "round": round_index,
        "layout": simulator.numbers.spec.digest,
        "kinds": kinds,
        "counts": dict(simulator.traffic.mishaps.counts),
        "reasons": simulator.traffic.mishaps.reasons,
        "tallies": simulator.traffic.mishaps.tallies,
        "cut_off": simulator.traffic.mishaps.cut_off,
        "losses": simulator.losses,
        "scores": simulator.scores,
        "steps": {} if simulator.steps is None else simulator.steps.outcomes,
        "judged": judged or {},
    }
    target = folder / f"round-{round_index:06d}"
    target.mkdir(parents=True, exist_ok=True)
    save_arrays(target / NUMBERS, arrays, {PAIR: pair})
    write_file(target / NOTES, json.dumps(notes))  # Last: where the notes are, the numbers are whole.
    _forget_older(folder, keep=target)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; None if there is none."""
    whole = [path for path in sorted(folder.glob("round-*")) if (path / NOTES).exists()]
    return whole[-1] if whole else None


def notes_of(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says beside numbers: its round, counts, losses and what the steps of exchanges came to.

    Raises:
        JobError: another version of Fogline wrote it, or it is damaged, or its numbers are, or they are another's.
    """
    try:
        notes: Any = json.loads((checkpoint / NOTES).read_bytes())
        with safetensors.safe_open(checkpoint / NUMBERS, framework="np") as file:
            pair = (file.metadata() or {}).get(PAIR)
    except (OSError, ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise _damaged(checkpoint, str(error)) from error
    if not isinstance(notes, dict):
        raise _damaged(checkpoint, f"{NOTES} has no notes")
    notes = cast("dict[str, Any]", notes)
    if notes.get("format") != FORMAT:
        raise JobError(
            f"The checkpoint {checkpoint} has format {notes.get('format')}; this version of Fogline reads {FORMAT}. Go "
            "on with the version that wrote it, or start a new run."
        )
    if missing := sorted(NOTED - notes.keys()):
        raise _damaged(checkpoint, f"{NOTES} lacks {', '.join(missing)}")
    if notes.get(PAIR) != pair:
        raise _damaged(checkpoint, f"{NUMBERS} is of another checkpoint")
    return notes


def _damaged(checkpoint: Path, why: str) -> JobError:
    return JobError(f"The checkpoint {checkpoint} is damaged ({why}). Delete it, and the run begins anew.")


def restore(checkpoint: Path, simulator: Simulator) -> None:
    """Fill a run that repeated its past up to the checkpoint's round with the numbers."""
    notes = notes_of(checkpoint)
    arrays = load_arrays(checkpoint / NUMBERS)
    parts: dict[str, Arrays] = {}
    for name, array in arrays.items():
        kind, key, rest = name.split("/", 2)
        parts.setdefault(f"{kind}/{key}", {})[rest] = array
    for i, value in enumerate(_live(simulator.numbers)):
        if value.done and str(i) in notes["kinds"]:
            value.result = _read(notes["kinds"][str(i)], parts.get(f"value/{i}", {}))
    for name, state in parts.items():
        if name.startswith("local/"):
            simulator.store.locals[int(name.removeprefix("local/"))] = state
        elif name.startswith("sender/") and simulator.store.staging is not None:
            simulator.store.staging.states[int(name.removeprefix("sender/"))] = state
    tallies = {what: Counter(tally) for what, tally in notes["tallies"].items()}
    before = simulator.traffic.mishaps
    counts, cut_off = Counter(notes["counts"]), notes.get("cut_off", {})
    simulator.traffic.mishaps = Mishaps(counts, notes["reasons"], tallies, cut_off, before.listener)
    simulator.store.replaying = False


def _live(numbers: Numbers) -> list[LazyValue]:
    by_key = [*numbers.groups.items(), *numbers.models.items(), *numbers.updates.items()]
    return reachable(value for _, value in by_key)


def _read(kind: str, arrays: Arrays) -> GroupModel | Down | Update | Partial | Payload:
    kinds: dict[str, type[GroupModel | Down | Update | Partial | Payload]] = {
        kind.__name__: kind for kind in (GroupModel, Down, Update, Partial, Gathered, Payload)
    }
    return kinds[kind].from_arrays(arrays)


def _forget_older(folder: Path, keep: Path) -> None:
    for path in folder.glob("round-*"):
        if path < keep:
            for name in (NOTES, NUMBERS):
                (path / name).unlink(missing_ok=True)
            sweep_drafts(path)
            path.rmdir()
