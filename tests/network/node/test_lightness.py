"""A device's agent must stay small: what only a cloud or a worker needs is not loaded there."""

from __future__ import annotations

import subprocess
import sys

from tests.patience import PATIENCE

HEAVY = "{'numpy', 'torch', 'cryptography', 'safetensors', 'sqlalchemy', 'psycopg', 'obstore', 'onnxruntime'}"


def test_an_agent_imports_no_arrays_and_no_certificate_library() -> None:
    script = (
        "import sys, fogline.network.node.process\n"
        "print(*sorted({'pydantic', 'fogline.jobs'} & set(sys.modules)))\n"  # Its worker reads jobs.
        "from fogline.jobs.files.reading import parse_job\n"
        "parse_job('rounds = 1')\n"
        f"print(*sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "\n\n"
