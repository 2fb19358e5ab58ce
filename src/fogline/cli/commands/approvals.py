"""``fogline approvals``: jobs that wait for the owners of data, what they do, and the owners' word."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App
from msgspec import to_builtins
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fogline.cli.connection import asked, operator_folder
from fogline.cli.failures import UsageError
from fogline.cli.listing import Listing, present, print_json
from fogline.cli.options import OPERATOR, Flag, Json, Many, OperatorOptions
from fogline.cli.telling import printable, tell
from fogline.governance.approvals.approval import Verdict
from fogline.network.cloud.client import Client
from fogline.network.cloud.owners.data_owner import DataOwner, ExaminedJob, examine
from fogline.network.cloud.records import Word

approvals = App(name="approvals")


@approvals.command(name="list")
def list_approvals(*, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """List the jobs that wait for owners, at the cloud or at nodes.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    listing = Listing(
        ("job", "state", "by", "submitted", "waits for", "nodes that wait", "said"), empty="No job waits for an owner."
    )
    for report in asked(operator.folder, Client.approvals):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(report.submitted))
        said = ", ".join(f"{word.owner}: {word.verdict}" for word in report.said)
        texts = (report.by, when, ", ".join(report.missing), ", ".join(report.unapproved), said)
        listing.add(to_builtins(report), report.job, report.state, *map(escape, texts))
    present([listing], json)


@approvals.command
def show(job: str, /, *, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """Show what a job does, as its signed bundle says, which is fetched and verified here.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    json
        Print an object (JSON) instead of a table.
    """
    with tempfile.TemporaryDirectory() as place:
        examined = _examined(job, Path(place), operator)
    if json:
        print_json({**to_builtins(examined.report), "facts": dict(examined.facts)})
    else:
        _show(examined)


@approvals.command
def approve(
    job: str,
    /,
    *,
    reason: str = "",
    node: Many = (),
    yes: Flag = False,
    key: Path | None = None,
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Show what a job does, and let it run on your data: signed here, with your key.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    reason
        Why, for the record.
    node
        Only on nodes with such names: --node 'press-*'. May be given several times.
    yes
        Do not ask again.
    key
        The file of your key; by default owner.key in your folder.
    """
    _decide("approve", job, reason, node, yes, key, operator)


@approvals.command
def refuse(
    job: str,
    /,
    *,
    reason: str,
    node: Many = (),
    key: Path | None = None,
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Keep a job away from your data: signed here, with your key. One that runs there leaves it.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    reason
        Why, for the developer and for the record.
    node
        Only on nodes with such names: --node 'press-*'. May be given several times.
    key
        The file of your key; by default owner.key in your folder.
    """
    _decide("refuse", job, reason, node, True, key, operator)


def said_by(word: Word) -> str:
    """An owner's word in a line."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(word.at))
    where = f" for {', '.join(word.nodes)}" if word.nodes else ""
    return f"{when} {word.owner}: {word.verdict}{where}{': ' + word.reason if word.reason else ''}"


def _decide(
    verdict: Verdict,
    job: str,
    reason: str,
    nodes: Sequence[str],
    sure: bool,
    key: Path | None,
    operator: OperatorOptions,
) -> None:
    # Before anything is fetched: who may not decide needs no code, and gets none of jobs that are over.
    owner = DataOwner.load(operator_folder(operator.folder), key)
    with tempfile.TemporaryDirectory() as folder:
        examined = _examined(job, Path(folder), operator)
        _show(examined)
        if not sure and not _agrees(examined.report.job):
            raise UsageError(f"Job {examined.report.job} was not approved")
        after = asked(operator.folder, lambda client: owner.decide(client, examined, verdict, reason, nodes))
    said, why = ("approved" if verdict == "approve" else "refused"), f": {after.why}" if after.why else ""
    tell(f"{owner.key.signer.name} {said} job {after.job}, which is {after.state}{why}.")


def _agrees(job: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"Nobody is here to be asked; say --yes to approve job {job}")
    return input(f"Approve job {job}? [y/N] ").strip().lower() in ("y", "yes")


def _examined(job: str, folder: Path, operator: OperatorOptions) -> ExaminedJob:
    """A job, and what it does."""
    place = operator_folder(operator.folder)
    return asked(operator.folder, lambda client: examine(client, job, place, folder))


def _show(examined: ExaminedJob) -> None:
    report = examined.report
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")  # A digest is copied into policies, so no character of it may be missing.
    stands = f"{report.state}{', ' + report.why if report.why else ''}"
    rows = [("job", report.job), ("state", stands), ("submitted by", report.by), *examined.facts]
    for name, text in rows + [("said", said_by(word)) for word in report.said]:
        table.add_row(escape(printable(name)), escape(printable(text)))
    Console().print(table, highlight=False)
