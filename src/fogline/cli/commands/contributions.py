"""``fogline contributions``: what each device, or each group of them, is worth to a job's model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from fogline.cli.listing import Listing, present
from fogline.cli.options import COMMON, CommonOptions, Flag, Json, Many
from fogline.jobs.files.reading import read_job
from fogline.jobs.loading import load_task
from fogline.monitoring.human import human_metric

if TYPE_CHECKING:
    from fogline.simulation.contributions import Estimate

Count = Annotated[int, Parameter(validator=Number(gte=1, lte=10_000))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]


def contributions(
    job: Path,
    /,
    *,
    of: Literal["devices", "groups"] = "devices",
    set: Many = (),
    seeds: Count = 2,
    orders: Count = 8,
    tolerance: Share = 0.005,
    json: Json = False,
    quiet: Flag = False,
    options: CommonOptions = COMMON,
) -> None:
    """Say what each device is worth to a job's model.

    The job is simulated with some of them and without the others.

    Parameters
    ----------
    job
        The job file (TOML).
    of
        Of each device, or of each group of devices below an aggregator of the last tier.
    set
        Change a key of the job: --set rounds=20. May be given several times.
    seeds
        How often the job is run without each of them, under other seeds.
    orders
        Random orders in which they join, for the Shapley values.
    tolerance
        An order ends where less than this share of the whole gain is left to gain.
    json
        Print an array of objects (JSON) instead of a table.
    quiet
        Show no progress, only the result.
    """
    wanted = read_job(job, set)
    task = load_task(wanted, job.parent)
    from fogline.simulation.contributions import contributions as find  # Not before the input is known to be right.

    console = Console(stderr=True)
    with console.status("It begins.") as status:
        found = find(
            wanted,
            task,
            by_group=of == "groups",
            seeds=seeds,
            orders=orders,
            tolerance=tolerance,
            tell=(lambda _: None) if quiet else status.update,
        )
    unit = task.units.get(found.metric, "")
    untrained, whole = (human_metric(found.metric, value, unit) for value in (found.untrained, found.whole))
    listing = Listing(
        ("part", "Shapley value", "left out"),
        title=f"What each adds to {found.metric}: {untrained} untrained, {whole} with all {of}; {found.runs} runs",
        hint="± is the standard error: of Shapley values over orders, of what is lost without one over seeds.",
    )
    for part, value in sorted(found.shapley.items(), key=lambda pair: -pair[1].mean):
        lost = found.left_out[part]
        item = {"part": part, "metric": found.metric, "shapley": value.mean, "shapley_error": value.error}
        listing.add({**item, "left_out": lost.mean, "left_out_error": lost.error}, part, _shown(value), _shown(lost))
    present([listing], json)


def _shown(value: Estimate) -> str:
    return f"{value.mean:+.4f}" + ("" if math.isnan(value.error) else f" ± {value.error:.4f}")
