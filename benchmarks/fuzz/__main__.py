"""Bytes from outside: everything that decodes them, fed with damaged ones.

``python -m benchmarks.fuzz [--inputs 1000000] [--only frames,chunks] [--seed 0]``

Every target takes valid examples, mutates them with knowledge of their structure (fields replaced, types swapped,
numbers made absurd, bytes flipped, cut, doubled, spliced), and checks that the decoder answers with a value or with
the error that it promises, within bounds of time and memory. Anything else is a finding: it is printed with what is
needed to repeat it, and the program ends with status 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import report
from benchmarks.fuzz.feeding import run


def names(text: str) -> Iterator[str]:
    yield from (name for name in text.split(",") if name)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-save", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        result = run(asked.inputs, list(names(asked.only)), asked.seed, Path(folder))
    report("fuzz", result, keep=not asked.no_save)
    sys.exit(1 if result["findings"] else 0)


if __name__ == "__main__":
    main()
