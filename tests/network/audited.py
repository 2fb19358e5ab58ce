"""The audit logs of a fleet, checked against each other."""

from __future__ import annotations

from pathlib import Path

from fogline.governance.audit_log.export import check_export, export_log, read_export
from fogline.governance.audit_log.records import decode_record
from fogline.governance.identity.checked import credentials
from fogline.network.node.process import NodeFolder


def check_audit_logs(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """What each node's log says that happened there; every log holds, also against what the others say of it."""
    root, exports, said = b"", dict[str, Path](), dict[str, list[str]]()
    for name in names:
        own = credentials(folder / name / "identity")
        with NodeFolder(folder / name).open_database() as database:
            exports[name] = folder / f"{name}.audit"
            export_log(exports[name], database, own)
        root = own.root
        said[name] = [decode_record(line).what for line in read_export(exports[name])[1]]
    checked = {name: check_export(path, root) for name, path in exports.items()}
    for name, path in exports.items():
        assert check_export(path, root, checked.values()).problems == (), name
        assert "audit.forked" not in said[name], name
    return said
