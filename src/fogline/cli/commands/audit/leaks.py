"""``fogline audit leaks``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.markup import escape

from fogline.cli.commands.simulation import check_names
from fogline.cli.failures import UsageError, say
from fogline.cli.listing import Listing, present, print_json
from fogline.cli.options import COMMON, CommonOptions, Flag, Json, Many, Several
from fogline.jobs.files.reading import read_job
from fogline.jobs.loading import load_task
from fogline.storage.atomic import write_file

if TYPE_CHECKING:
    from fogline.audit import AuditSettings, Finding, LeakReport

STYLES = {"leaks": "red", "hints": "yellow", "holds": "green", "not applicable": "dim"}


def leaks(
    job: Path,
    /,
    *,
    set: Many = (),
    attack: Several = (),
    examples: Several = (),
    rounds: int | None = None,
    shadows: int | None = None,
    quick: Flag = False,
    page: Path = Path("leaks.html"),
    json: Json = False,
    options: CommonOptions = COMMON,
) -> None:
    """Attack a job's own settings, as a curious aggregator would, and say what leaks.

    The job is simulated; what passes over its links is attacked. The result is a page with pictures, a file for
    programs beside it, and a verdict.

    Parameters
    ----------
    job
        The job file (TOML).
    set
        Change a key of the job: --set local.epochs=5. May be given several times.
    attack
        Names of the attacks: labels, first_layer, dlg, geiping, membership, lira, canary. By default all.
    examples
        Trials with devices of so many examples: --examples 1 8 own; own is what they have. By default 1 2 4 8 own.
    rounds
        Rounds of the job that are looked at, where an attack looks at several; by default 3.
    shadows
        Runs of the attacker's own, for lira; by default 16.
    quick
        Trials of 1 and 8 examples, fewer shadows and a shorter search.
    page
        Where the page is written; what is for programs goes beside it, as .json.
    json
        Print the result as JSON, and nothing else.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--page: {page} is no page; name a file that ends in .html")
    wanted = read_job(job, set)
    task = load_task(wanted, job.parent)
    check_names(wanted, task)
    from fogline.audit import audit_leaks  # Not before the input is known to be right: it is heavy.
    from fogline.audit.page import page_of

    settings = _settings(examples, rounds, shadows, quick)
    report = audit_leaks(wanted, task, settings, attacks=attack, tell=_silent if json else say)
    facts = report.to_json()
    try:
        write_file(page, page_of(report), durable=False)
        write_file(page.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(facts), indent=2), durable=False)
    except OSError as error:
        raise UsageError(f"--page: {page} cannot be written: {error.strerror}; name another file") from error
    if json:
        print_json(facts)
        return
    present([_listing(report)], json=False)
    told = "\n".join(["", *report.verdict, f"Page: {page}"])
    Console().print(told, markup=False, highlight=False, soft_wrap=True)


def _silent(_: str) -> None:
    """Where a program reads what is printed, nothing is said beside it."""


def _settings(examples: tuple[str, ...], rounds: int | None, shadows: int | None, quick: bool) -> AuditSettings:
    """How much is done.

    Raises:
        UsageError: a number is none, or too small.
    """
    from fogline.audit import AuditSettings

    settings = AuditSettings(examples=(1, 8, None), shadows=6, iterations=100) if quick else AuditSettings()
    if examples:
        settings = replace(settings, examples=tuple(map(_amount, examples)))
    for name, value, least in (("rounds", rounds, 1), ("shadows", shadows, 2)):
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}; it must be at least {least}")
        if value is not None:
            settings = replace(settings, **{name: value})
    return settings


def _amount(text: str) -> int | None:
    if text == "own":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--examples: '{text}' is no number of examples; write one above 0, or own")
    return int(text)


def _listing(report: LeakReport) -> Listing:
    listing = Listing(
        ("attack", "seen by", "examples", "devices", "result", ""),
        numbers=frozenset({"examples", "devices"}),
        folds=False,
    )
    for one in report.findings:
        listing.add({}, *_row(one))
    return listing


def _row(one: Finding) -> tuple[str, ...]:
    style = STYLES[one.outcome]
    examples = "own" if one.examples is None else str(one.examples)
    return one.attack, escape(one.place), examples, str(one.devices), f"[{style}]{one.outcome}[/]", escape(one.words)
