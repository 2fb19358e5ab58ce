"""The examples as they stand: what federation gains over each device alone, and what it costs against all data in one.

    python -m benchmarks.applications [--only NAME ...] [--seeds N] [--pictures FOLDER]

Each is the job file of that name under ``examples``, run in this process with the baselines ``pooled`` and ``alone``
([comparing runs](../docs/comparing.md) says what they have in common with the run). The table has, as medians over the
seeds, the headline metric in per cent or in the target's unit:

- ``federated``, ``pooled``, ``alone``: on what the example's job judges on; of ``alone`` the mean over devices;
- ``personal``, where the example has a personal variant: the mean over devices that judge, each on examples of its own
  that never train; and ``common``: the same of the model that these devices received.

Runs are kept under ``.benchmarks/applications``, so that a benchmark that was ended goes on where it was; a run whose
job, data or example has changed since is made anew. ``--pictures`` writes, of the first seed, the metric over rounds
beside the baselines, as FOLDER/NAME.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.accuracy.runs import digest
from benchmarks.common import ROOT, SCRATCH, console, median, report
from fogline.jobs import JobError
from fogline.jobs.loading import load_task
from fogline.jobs.reading import read_job
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.human import axis_label, is_share
from fogline.monitoring.plots import metric_figure, png
from fogline.monitoring.result import Result
from fogline.simulation.run import run

FOLDER = ROOT / "examples"
STATE = SCRATCH / "applications"
COLUMNS = ("federated", "pooled", "alone", "personal", "common")


@dataclass(frozen=True, slots=True)
class Application:
    """An example that is measured."""

    name: str
    """Of its job file."""
    personal: tuple[str, ...] = ()
    """What the personal variant changes in the job, as after ``--set``; nothing: there is none."""


APPLICATIONS = (
    Application("activity", personal=("algorithm=knnper",)),
    Application("bearings"),
    Application("tiles"),
    Application("text"),
    Application("steel"),
    Application("own_pictures"),
    Application("turbofan"),
    Application("energy", personal=("algorithm=knnper",)),
    Application("steel_energy", personal=("algorithm=knnper",)),
    Application("failures"),
    Application("tumours"),
    Application("credit"),
    Application("adult"),
)
"""One line each, in the order of docs/applications.md."""


def trained(name: str, seed: int, *more: str) -> Result:
    """The example's job, with these changes: trained in this process, or read, where that was done before."""
    job = read_job(FOLDER / f"{name}.toml", (f"seed={seed}", "processes=0", *more))
    task = load_task(job, FOLDER)
    code = (FOLDER / f"{name}.py").read_text()
    kept = RunFolder(STATE / f"{name}-{digest(task, code, job.model_dump(mode='json'))}")
    if not kept.info.exists():
        kept = RunFolder.create(kept.path, job)
    elif kept.is_finished:
        return kept.load()
    else:
        kept, job = RunFolder.reopen(kept.path), kept.read_job()
    with kept:
        return run(job, task, kept, progress=False)


def figures(application: Application, seed: int, pictures: Path | None) -> dict[str, float]:
    """The numbers of one seed, by column."""
    result = trained(application.name, seed, 'evaluation.baselines=["pooled", "alone"]')
    headline = result.headline
    found = {"federated": result.value()} | {name: one.value(headline) for name, one in result.baselines.items()}
    if pictures is not None:
        (pictures / f"{application.name}.png").write_bytes(png(metric_figure(result)))
    if application.personal:
        own = trained(application.name, seed, *application.personal)
        spreads = {"personal": own.devices, "common": own.common}
        found |= {name: spread.mean for name, spread in spreads.items() if spread is not None}
    scale = 100.0 if is_share(headline) else 1.0
    values = {name: scale * value for name, value in found.items() if value is not None}
    told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    console.print(f"{application.name}, seed {seed}: {told} {unit_of(result)}")
    return values


def unit_of(result: Result) -> str:
    """What the numbers of a result are."""
    return axis_label(result.headline, result.units.get(result.headline, ""))


def measured(application: Application, seeds: int, pictures: Path | None) -> dict[str, Any]:
    """Medians over the seeds."""
    runs = [figures(application, seed, pictures if seed == 0 else None) for seed in range(seeds)]
    return {name: round(median(one[name] for one in runs), 4) for name in runs[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [one.name for one in APPLICATIONS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.pictures is not None:
        asked.pictures.mkdir(parents=True, exist_ok=True)
    try:
        chosen = [one for one in APPLICATIONS if one.name in asked.only]
        result = {one.name: measured(one, asked.seeds, asked.pictures) for one in chosen}
    except JobError as error:  # A data set that is not on this machine, for one.
        raise SystemExit(str(error)) from error
    show(result)
    report("applications", result, keep=asked.only == names)


def show(result: dict[str, dict[str, Any]]) -> None:
    """The table, for people."""
    table = Table("example", *COLUMNS)
    for name, row in result.items():
        table.add_row(name, *(f"{row[key]:.4g}" if key in row else "" for key in COLUMNS))
    console.print(table)


if __name__ == "__main__":
    main()
