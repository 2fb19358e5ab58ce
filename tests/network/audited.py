"""The audit logs of a fleet, checked against each other."""

from __future__ import annotations

from pathlib import Path

from fogline.governance.audit_log.audit_log import STREAM, AuditLog
from fogline.governance.audit_log.export import check_export, write_export
from fogline.governance.audit_log.heads import sign_audit_head
from fogline.governance.audit_log.records import decode_record
from fogline.governance.identity.checked import credentials
from fogline.network.node.process import NodeFolder


def check_audit_logs(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """What each node's log says that happened there; every log holds, also against what the others say of it."""
    root, exports, said = b"", dict[str, Path](), dict[str, list[str]]()
    for name in names:
        own = credentials(folder / name / "identity")
        with NodeFolder(folder / name).open_database() as database:
            head = AuditLog(name, database).head()
            lines = [line for _, line in zip(range(head.size), database.read(STREAM), strict=False)]
        root, exports[name] = own.root, folder / f"{name}.audit"
        write_export(exports[name], sign_audit_head(head, own), lines)
        said[name] = [decode_record(line).what for line in lines]
    checked = {name: check_export(path, root) for name, path in exports.items()}
    for name, path in exports.items():
        assert check_export(path, root, checked.values()).problems == (), name
        assert "audit.forked" not in said[name], name
    return said
