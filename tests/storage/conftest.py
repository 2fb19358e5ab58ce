"""A PostgreSQL server and an S3 server of our own, on free ports, for as long as the tests run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from fogline.storage import Blobs, Database, open_blobs, open_database
from tests.patience import PATIENCE

PASSWORD = "pa55-W0rd"
SECRET = "s3cr3t-K3y"
numbers = count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[int]:
    """A PostgreSQL that asks for a password; its port."""
    if not all(shutil.which(program) for program in ("initdb", "pg_ctl")):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not on the path")
    root = Path(tempfile.mkdtemp(prefix="fogline-pg-"))
    (root / "password").write_text(PASSWORD)
    # PostgreSQL refuses to run as root.
    who = {"user": "postgres", "group": "postgres", "extra_groups": ()} if os.getuid() == 0 else {}
    if who:
        for path in (root, root / "password"):
            shutil.chown(path, "postgres", "postgres")
    port = free_port()

    def call(*words: str) -> None:
        subprocess.run(words, check=True, cwd=root, stdout=subprocess.DEVNULL, timeout=PATIENCE, **who)

    data = str(root / "data")
    call("initdb", "-D", data, "-U", "fog", "--no-sync", "--auth=scram-sha-256", f"--pwfile={root / 'password'}")
    settings = f"-h 127.0.0.1 -p {port} -k {root} -c fsync=off -c max_connections=40 -c synchronous_commit=off"
    call("pg_ctl", "-D", data, "-w", "-l", str(root / "log"), "-o", settings, "start")
    try:
        yield port
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(root)


@pytest.fixture
def postgres(postgres_server: int) -> str:
    """The address of an empty schema."""
    return fresh_schema(postgres_server)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database may be."""
    return str(tmp_path / "node.db") if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with open_database(place) as opened:
        yield opened


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server with the bucket ``fog``; its address."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAFOGLINE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        import boto3

        endpoint = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="fog")
        try:
            yield endpoint
        finally:
            server.stop()


@pytest.fixture
def s3(s3_server: str) -> str:
    """The address of an empty prefix."""
    return f"s3://fog/node/{next(numbers)}?endpoint={s3_server}&region=us-east-1"


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return open_blobs(tmp_path / "blobs", reserve=0)
    return open_blobs(request.getfixturevalue("s3"), tmp_path / "blobs", reserve=0)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("Only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fresh_schema(port: int) -> str:
    import psycopg

    address, name = f"postgresql://fog:{PASSWORD}@127.0.0.1:{port}/postgres", f"node{next(numbers)}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{address}?options=-csearch_path%3D{name}"
