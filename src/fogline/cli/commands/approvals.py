"""``fogline approvals``: jobs that wait for the owners of data, what they do, and the owners' word."""

from __future__ import annotations

import shutil
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
from fogline.cli.listing import Listing, present
from fogline.cli.options import OPERATOR, Flag, Json, Many, OperatorOptions
from fogline.governance.approvals.approval import Verdict, sign_approval
from fogline.governance.bundles.bundle import Bundle, open_bundle
from fogline.governance.identity.identity import Identity
from fogline.governance.roles import refusal
from fogline.governance.safe_files import make_private_folder
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import node_name
from fogline.network.cloud.api.approvals import facts_of_bundle
from fogline.network.cloud.client import Client
from fogline.network.cloud.folder import OWNER_KEY
from fogline.network.cloud.records import ApprovalReport, Word

APPROVED = "approved"
"""In an owner's folder: of each job, by its name, the bundle that this owner approved last."""

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
def show(job: str, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Show what a job does, as its signed bundle says, which is fetched and verified here.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    """
    with tempfile.TemporaryDirectory() as place:
        report, bundle = _fetched(job, Path(place), operator)
        _print_facts(report, bundle, operator.folder)


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
    place = operator_folder(operator.folder)
    subject = Identity.load(place / "identity").subject
    # Before anything is fetched: who may not decide needs no code, and gets none of jobs that are over.
    if refused := refusal(subject, "Operator/Decide"):
        raise UsageError(refused)
    signing = SigningKey.load(key or place / OWNER_KEY)
    limited = tuple(nodes) or subject.nodes
    with tempfile.TemporaryDirectory() as folder:
        report, bundle = _fetched(job, Path(folder), operator)
        _print_facts(report, bundle, operator.folder)
        if not sure and not _agrees(report.job):
            raise UsageError(f"Job {report.job} was not approved")
        envelope = sign_approval(report.job, bundle.digest, verdict, reason, signing, time.time(), limited)
        after = asked(operator.folder, lambda client: client.decide(report.job, envelope))
        if verdict == "approve":
            _keep(bundle, report.name, place)
    what = "approved" if verdict == "approve" else "refused"
    print(
        f"{signing.signer.name} {what} job {after.job}, which is {after.state}{': ' + after.why if after.why else ''}."
    )


def _agrees(job: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"Nobody is here to be asked; say --yes to approve job {job}")
    return input(f"Approve job {job}? [y/N] ").strip().lower() in ("y", "yes")


def _fetched(job: str, folder: Path, operator: OperatorOptions) -> tuple[ApprovalReport, Bundle]:
    """How a job stands, and its bundle, verified on this machine: of what it does the cloud's word is not needed."""
    path = folder / "bundle.zip"

    async def ask(client: Client) -> ApprovalReport:
        report = await client.approval(job)
        await client.fetch(report.bundle, path)
        return report

    return asked(operator.folder, ask), open_bundle(path)


def _print_facts(report: ApprovalReport, bundle: Bundle, folder: Path) -> None:
    before = _kept(report.name, operator_folder(folder))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    stands = f"{report.state}{', ' + report.why if report.why else ''}"
    rows = [("job", report.job), ("state", stands), ("submitted by", report.by), *facts_of_bundle(bundle, before)]
    for name, text in rows + [("said", said_by(word)) for word in report.said]:
        table.add_row(name, escape(text))
    Console().print(table, highlight=False)


def _kept(name: str, place: Path) -> Bundle | None:
    path = _path_of(name, place)
    return open_bundle(path) if path.exists() else None


def _keep(bundle: Bundle, name: str, place: Path) -> None:
    path = _path_of(name, place)
    make_private_folder(path.parent)
    shutil.move(bundle.path, path)


def _path_of(name: str, place: Path) -> Path:
    return place / APPROVED / f"{node_name(name)}.zip"
