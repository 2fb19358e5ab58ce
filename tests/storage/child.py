"""What other processes do in these tests: ``python -m tests.storage.child <what> <where> …``."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from fogline.storage import BlobRef, open_blobs, open_database

ROOT = Path(__file__).parents[2]


def start(*words: object) -> subprocess.Popen[str]:
    """Start one."""
    command = [sys.executable, "-m", "tests.storage.child", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def append(where: str) -> None:
    """Append pairs of entries for ever, and say each time what is acknowledged."""
    with open_database(where) as database:
        for number in range(10**9):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            entries = [f"{number}a".encode(), f"{number}b".encode()]
            database.append("journal", entries, {"last": BlobRef(digest, number, "model")})
            print(number, flush=True)


def migrate(where: str) -> None:
    """Wait for the word, then open."""
    # So that the race is one of opening, not of importing.
    import fogline.storage.postgres  # noqa: F401

    print("ready", flush=True)
    sys.stdin.readline()
    with open_database(where) as database:
        database.append("openers", [b"one"])


def hold(where: str) -> None:
    """Keep SQLite's write lock until told."""
    import sqlite3

    connection = sqlite3.connect(where, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("ready", flush=True)
    sys.stdin.readline()


def write(where: str, digest: str, size: str) -> None:
    """Write zeros into a blob, chunk after chunk, without an end."""
    writer = open_blobs(Path(where), reserve=0).writer(digest, int(size))
    while True:
        writer.write(bytes(4096))
        print(writer.offset, flush=True)


if __name__ == "__main__":
    {"append": append, "migrate": migrate, "hold": hold, "write": write}[sys.argv[1]](*sys.argv[2:])
