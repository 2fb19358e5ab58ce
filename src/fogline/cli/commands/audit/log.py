"""``fogline audit show``, ``export``, ``verify`` and ``prove``: what was decided and done on a node."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.markup import escape

from fogline.cli.connection import asked, facts_of
from fogline.cli.failures import UsageError
from fogline.cli.listing import Listing, present, print_json
from fogline.cli.options import COMMON, OPERATOR, CommonOptions, Json, OperatorOptions
from fogline.cli.telling import printable
from fogline.governance.audit_log.audit_log import STREAM
from fogline.governance.audit_log.export import CheckedLog, check_export, export_log, read_export, read_export_head
from fogline.governance.audit_log.heads import AuditHead
from fogline.governance.audit_log.proof import LARGEST, check_record, prove_record
from fogline.governance.audit_log.records import AuditRecord, Fact, decode_record
from fogline.governance.errors import AuditLogError
from fogline.governance.identity.checked import credentials
from fogline.governance.safe_files import read_bounded
from fogline.network.node.process import NodeFolder
from fogline.storage import Database
from fogline.storage.atomic import write_file

HASH = re.compile(r"(sha256:)?[0-9a-f]{32,64}")
EXPORT = ".audit"
"""The end of the name of a log's file."""


def show(
    log: Path,
    /,
    *,
    about: str = "",
    what: str = "",
    last: Annotated[int, Parameter(validator=Number(gte=0))] = 50,
    store: str = "",
    json: Json = False,
    options: CommonOptions = COMMON,
) -> None:
    """Show what was decided and done on a node: who did what to what, the newest last.

    Parameters
    ----------
    log
        The node's folder, or a file of fogline audit export.
    about
        Only records about this job, node or model.
    what
        Only records that begin so: job, job.submitted, model, node, data.used, audit.
    last
        How many at most; 0 shows all.
    store
        Where the node's records lie, if not in its folder: as --store was given to it.
    json
        Print an array of objects (JSON) instead of a table.
    """
    with _lines(log, store) as lines:
        records = [record for record in map(decode_record, lines) if _fits(record, about, what)]
    listing = Listing(
        ("when", "#", "what", "by", "about", "more"),
        numbers=frozenset({"#"}),
        empty="No such record is in this log." if about or what else "There is no record in this log yet.",
        hint=f"This was not verified; that takes: fogline audit verify {log if log.is_file() else 'FILE'}",
    )
    for record in records[-last:] if last else records:
        row = (_when(record), str(record.number), record.what, record.by, record.about, _facts(record))
        listing.add(msgspec.to_builtins(record), *map(escape, row))
    present([listing], json)


def export(
    folder: Path | None = None,
    /,
    *,
    to: Path | None = None,
    store: str = "",
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Write a node's audit log into a file that others can verify; the node may run meanwhile.

    Parameters
    ----------
    folder
        The node's, on this machine: its key signs the end of the log. Without it the cloud is asked for its own.
    to
        The file; by default NAME.audit, after the node.
    store
        Where the node's records lie, if not in its folder: as --store was given to it.
    """
    name = facts_of(operator.folder).name if folder is None else credentials(NodeFolder(folder).identity).subject.name
    path = to or Path(f"{name}{EXPORT}")
    try:
        if folder is None:
            asked(operator.folder, lambda client: client.audit_log(path))
        else:
            with _opened(folder, store) as database:
                export_log(path, database, credentials(NodeFolder(folder).identity))
    except OSError as error:
        raise UsageError(f"--to: {path} cannot be written: {error.strerror}; name another file") from error
    print(f"{path} has the audit log of {name}. {_how_to_verify(path)}")


def verify(
    file: Path,
    /,
    *,
    root: Path,
    against: Annotated[tuple[Path, ...], Parameter(negative="", consume_multiple=True)] = (),
    json: Json = False,
    options: CommonOptions = COMMON,
) -> None:
    """Check that nothing in a log was changed, taken away or moved. Needs no key but public ones, and no network.

    Parameters
    ----------
    file
        A file of fogline audit export, or a proof of fogline audit prove.
    root
        Certificate of the authority: root.pem in the folder identity of any node.
    against
        Exports of other nodes' logs that may have seen this one (the parent's, its children's), or of this log at other
        times.
    json
        Print the result as JSON.
    """
    authority = _read(root)
    if _is_proof(file):
        if against:
            raise UsageError(f"--against is for exports of whole logs; {file} is a proof of one record")
        _verify_proof(file, authority, json)
        return
    with _readable(file):
        shown = read_export_head(file, authority)
    witnesses = [_checked(path, authority, shown=shown) for path in against]
    for path, witness in zip(against, witnesses, strict=True):
        if witness.damage:
            raise UsageError(f"--against: {path} does not hold itself: {witness.damage[0]}")
    checked = _checked(file, authority, witnesses)
    later = [
        f"{path}, a later export of it, is another: {fork}"
        for path, log in zip(against, witnesses, strict=True)
        if log.head.size > shown.size
        for fork in log.forks
    ]
    problems = [*checked.problems, *later]
    node, size = checked.head.node, checked.head.size
    seen = sum(one.node == node for log in witnesses for one in log.anchors)
    if json:
        print_json({"node": node, "records": size, "witnessed": seen, "problems": problems})
    elif not problems:
        print(f"{file} holds: {size:,} records of {node}, {_witnessed(seen, against)}.")
    if problems:
        raise AuditLogError(f"{file} does not hold: " + " ".join(problems))


def prove(file: Path, number: int, /, *, to: Path | None = None, options: CommonOptions = COMMON) -> None:
    """Write the proof that one record stands in a log: it can be verified without the rest of the log.

    Parameters
    ----------
    file
        A file of fogline audit export.
    number
        Of the record, as fogline audit show tells it.
    to
        The proof's file; by default NAME-NUMBER.proof.
    """
    path = to or file.with_name(f"{file.stem}-{number}.proof")
    try:
        head, lines = read_export(file)
        write_file(path, prove_record(number, list(lines), head))
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read or written: {error.strerror}") from error
    print(f"{path}: proves record {number}. {_how_to_verify(path)}")


def _verify_proof(file: Path, authority: bytes, json: bool) -> None:
    record, head = check_record(read_bounded(file, LARGEST), authority)
    if json:
        print_json({"node": head.node, "records": head.size, "record": msgspec.to_builtins(record), "problems": []})
        return
    said = f"{record.what} by {record.by}, about {record.about or 'the node itself'}, {_when(record)}"
    more = f" ({_facts(record)})" if record.facts else ""
    print(f"{file} holds: record {record.number} of {head.node}'s {head.size:,} is {printable(f'{said}{more}')}.")


def _checked(
    path: Path, authority: bytes, witnesses: Sequence[CheckedLog] = (), shown: AuditHead | None = None
) -> CheckedLog:
    with _readable(path):
        return check_export(path, authority, witnesses, shown)


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _witnessed(seen: int, against: tuple[Path, ...]) -> str:
    if not against:
        return "as its node signed them; that it was not written anew, only other logs can tell (--against)"
    return f"and {seen} records of other logs say the same" if seen else "of which those other logs say nothing"


def _is_proof(file: Path) -> bool:
    with _existing(file).open("rb") as opened:
        return opened.read(10) == b'{"record":'


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, LARGEST)
    except OSError as error:
        raise UsageError(f"--root: {path} cannot be read: {error.strerror}") from error


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise UsageError(f"There is no file {file}; fogline audit export makes one of a node's folder")
    return file


@contextmanager
def _lines(log: Path, store: str) -> Generator[Iterator[bytes]]:
    if log.is_dir():
        with _opened(log, store) as database:
            yield database.read(STREAM)
    else:
        yield read_export(_existing(log))[1]


@contextmanager
def _opened(folder: Path, store: str) -> Generator[Database]:
    place = NodeFolder(folder, store)
    if not store and not (folder / "records.sqlite").is_file():
        raise UsageError(f"There are no records of a node in {folder}; name its folder, or --store")
    with place.open_database() as database:
        yield database


def _fits(record: AuditRecord, about: str, what: str) -> bool:
    return about in ("", record.about) and (record.what == what or record.what.startswith(f"{what}.") or not what)


def _when(record: AuditRecord) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.at))
    except (OverflowError, ValueError, OSError):  # A node may write what it likes.
        return "at no time"


def _facts(record: AuditRecord) -> str:
    shown = ((name, _fact(value)) for name, value in record.facts.items())
    return ", ".join(f"{name} {text}" for name, text in shown if text)


def _fact(value: Fact) -> str:
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    if HASH.fullmatch(text):
        return f"{text.removeprefix('sha256:')[:12]}…"
    return text if len(text) <= 80 else f"{text[:77]}…"


def _how_to_verify(path: Path) -> str:
    return f"Verify it with: fogline audit verify {path} --root FOLDER/identity/root.pem"
