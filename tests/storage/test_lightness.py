"""The room is part of the device agent, which must stay small."""

from __future__ import annotations

import subprocess
import sys

from tests.patience import PATIENCE


def test_it_imports_no_heavy_package_and_no_driver() -> None:
    script = (
        "import sys, fogline.storage as s, tempfile\n"
        "with tempfile.TemporaryDirectory() as d:\n"
        "    s.open_database(d + '/node.db').append('s', [b'x']); s.open_blobs(d + '/blobs', reserve=0).put(b'x')\n"
        "print(*sorted({'numpy', 'pydantic', 'sqlalchemy', 'psycopg', 'obstore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "\n"
