"""How fast an audit log grows, and how fast a long one is verified.

    python -m benchmarks.audit [--quick]

Records are added to a node's database (SQLite, synced at every commit) as nodes add them. Keys of the last line:

- ``records_per_s``: records that become durable a second when 256 are added at the same time, and share a commit;
- ``alone_per_s``: when each waits for its own commit, which is the disk's time;
- ``verify_million_s``: seconds to verify an export of a million records, from the first to the signed head, and against
  some 950 heads that another log has kept;
- ``export_million_s``: to write it;
- ``open_ms``: to open the log of a million records again;
- ``prove_million_s``: to prove one record;
- ``proof_bytes``: of that proof.

``--quick``: a hundred thousand records instead of a million, scaled up.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from benchmarks.common import console, median, report
from fogline.governance.audit_log.audit_log import STREAM, AuditLog
from fogline.governance.audit_log.export import ANCHORED, check_export, export_log, read_export
from fogline.governance.audit_log.proof import check_record, prove_record
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity
from fogline.governance.subject import Role, Subject
from fogline.storage import open_database

MILLION = 1_000_000
TOGETHER = 256
"""Records that share a commit."""
HEADS = 1000
T = TypeVar("T")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundred thousand records instead of a million")
    options = parser.parse_args()
    count = MILLION // 10 if options.quick else MILLION
    with TemporaryDirectory() as folder:
        result = measure(Path(folder), count)
    report("audit", {"quick": options.quick} | result, keep=not options.quick)


def measure(folder: Path, count: int) -> dict[str, float]:
    """All figures, with logs of ``count`` records; seconds are scaled to a million."""
    authority = Authority.create(folder / "authority")
    own, fog = joined(authority, folder / "press-7", "device"), joined(authority, folder / "west", "fog")
    scale = MILLION / count
    with open_database(folder / "press-7.db") as database, open_database(folder / "west.db") as above:
        alone = median([rate(AuditLog("alone", above), 1, 100) for _ in range(3)])
        above.drop(STREAM)
        log, witness = AuditLog("press-7", database), AuditLog("west", above)
        together = [rate(log, TOGETHER, TOGETHER * 8) for _ in range(5)]
        console.print(f"added one by one: {alone:.0f} a second; {TOGETHER} together: {median(together):.0f}")
        while log.size < count:
            head = log.head()
            witness.add(ANCHORED, "west", "press-7", size=head.size, root=head.root.hex())
            rate(log, TOGETHER, min(count // HEADS, count - log.size))
        witness.write()
        exports = folder / "press-7.audit", folder / "west.audit"
        export_seconds, _ = timed(lambda: export_log(exports[0], database, own))
        export_log(exports[1], above, fog)
        open_seconds, _ = timed(lambda: AuditLog("press-7", database))
        seen = check_export(exports[1], authority.root_pem)
        verify_seconds, checked = timed(lambda: check_export(exports[0], authority.root_pem, [seen]))
        if checked.problems or len(seen.anchors) != witness.size:
            raise SystemExit(f"A log that is whole was not verified: {checked.problems}")
        head, records = read_export(exports[0])
        lines = list(records)
        prove_seconds, proof = timed(lambda: prove_record(count // 3, lines, head))
        check_record(proof, authority.root_pem)
    return {
        "records_per_s": round(median(together)),
        "alone_per_s": round(alone),
        "verify_million_s": round(verify_seconds * scale, 2),
        "export_million_s": round(export_seconds * scale, 2),
        "open_ms": round(1000 * open_seconds, 2),
        "prove_million_s": round(prove_seconds * scale, 2),
        "proof_bytes": len(proof),
    }


def joined(authority: Authority, folder: Path, role: Role) -> Identity:
    """A node of the authority's."""
    key = Identity.create_key(folder)
    return key.install(authority.issue(key.csr(), Subject(folder.name, role), 30), authority.root_pem)


def rate(log: AuditLog, together: int, count: int) -> float:
    """Records a second that become durable."""
    began = time.perf_counter()
    for first in range(0, count, together):
        for i in range(first, min(first + together, count)):
            log.add("data.used", log.node, "vibration-3-1f2e", kind="train", round=i, examples=1200)
        log.write()
    return count / (time.perf_counter() - began)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that it took, and what came of it."""
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


if __name__ == "__main__":
    main()
