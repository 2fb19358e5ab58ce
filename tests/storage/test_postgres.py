"""Records in PostgreSQL, and what can happen to a connection."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import psycopg
import pytest

from fogline.storage import Database, StorageError, open_database
from tests.storage.conftest import PASSWORD, free_port
from tests.storage.proxy import Proxy, broken_network


@pytest.fixture
def proxy(postgres_server: int) -> Iterator[Proxy]:
    with broken_network(postgres_server) as network:
        yield network


@pytest.fixture
def far(postgres: str, postgres_server: int, proxy: Proxy) -> Iterator[Database]:
    """A database behind the proxy."""
    with open_database(postgres.replace(f":{postgres_server}/", f":{proxy.port}/"), patience=2) as database:
        yield database


def end_all_others(address: str) -> int:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'fogline'"
        ).fetchall()[0][0]


def test_a_connection_that_was_ended_is_made_anew(postgres: str) -> None:
    with open_database(postgres) as database:
        for call in (
            lambda: database.append("s", [b"x"]),
            database.streams,
            lambda: database.note("topic", b"line"),
            lambda: list(database.read("s")),
        ):
            assert end_all_others(postgres) >= 1
            call()
        assert list(database.read("s")) == [b"x"]
        assert database.notes("topic") == [(1, b"line")]


@pytest.mark.parametrize("fault", ["lost", "answer"])
def test_what_breaks_at_the_commit_is_written_once(far: Database, proxy: Proxy, fault: str) -> None:
    def broken(call: object) -> object:
        proxy.fault = fault
        return call()  # type: ignore[operator]

    far.put("kind", "key", b"0")
    for number in range(1, 4):
        broken(lambda number=number: far.append("s", [b"%d" % number]))
        assert broken(lambda: far.note("topic", b"line")) == number
        assert broken(lambda number=number: far.swap("kind", "key", b"%d" % (number - 1), b"%d" % number))
    assert proxy.faults == 9
    assert list(far.read("s")) == [b"1", b"2", b"3"]
    assert [number for number, _ in far.notes("topic")] == [1, 2, 3]


def test_a_server_that_stays_away_is_named_and_found_again(far: Database, proxy: Proxy, postgres: str) -> None:
    proxy.down = True
    end_all_others(postgres)
    for _ in range(2):
        with pytest.raises(StorageError, match=rf"PostgreSQL at 127\.0\.0\.1:{proxy.port}/postgres cannot be reached"):
            far.append("s", [b"x"])
    proxy.down = False
    far.append("s", [b"y"])
    assert list(far.read("s")) == [b"y"]


def test_what_is_not_known_is_said(far: Database, proxy: Proxy) -> None:
    far.append("s", [b"0"])
    proxy.fault, proxy.down = "answer", True
    with pytest.raises(StorageError, match="whether they were is not known; start this node again"):
        far.append("s", [b"1"])
    proxy.down = False
    far.append("s", [b"2"])
    assert list(far.read("s")) == [b"0", b"1", b"2"]


def test_a_returned_call_is_on_disk_whatever_the_servers_default(postgres: str) -> None:
    with open_database(postgres) as database:
        assert database._engine.read("SHOW synchronous_commit") == [("on",)]
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)


def test_a_lock_of_another_session_is_named(postgres: str) -> None:
    with open_database(postgres, patience=0.2) as database, psycopg.connect(postgres) as other:
        database.append("s", [])
        other.execute("SELECT * FROM streams FOR UPDATE")
        with pytest.raises(StorageError, match=r"is locked by another session for more than 0\.2 s"):
            database.append("s", [b"x"])
        other.rollback()
        database.append("s", [b"y"])
        assert list(database.read("s")) == [b"y"]


def test_what_the_server_refuses_is_said(postgres: str) -> None:
    with open_database(postgres) as database, psycopg.connect(postgres, autocommit=True) as other:
        other.execute("DROP TABLE notes")
        with pytest.raises(StorageError, match=r"refused the records: relation .*notes.* does not exist"):
            database.note("topic", b"line")
        other.execute("ALTER TABLE documents RENAME TO lost")
        with pytest.raises(StorageError, match="does not exist"):
            database.get("kind", "key")


def test_no_message_holds_the_password(postgres: str, postgres_server: int) -> None:
    wrong = [
        postgres.replace(PASSWORD, "hunter2-wrong"),
        f"postgresql://fog:hunter2-port@127.0.0.1:{free_port()}/postgres",
        "postgresql://fog:hunter2/slash@127.0.0.1/postgres",
        "postgresql://fog:hunter2@more@127.0.0.1/postgres",
        "postgresql://fog:1234/hunter2@127.0.0.1/postgres",
        "postgresql://fog:hunter2%zz@127.0.0.1/postgres",
        "postgresql://fog@127.0.0.1:hunter2/postgres",
        f"postgresql://127.0.0.1:{postgres_server}/postgres?user=fog&password=hunter2",
        f"postgresql://fog:{PASSWORD}@127.0.0.1:{postgres_server}/nowhere",
    ]
    for address in wrong:
        with pytest.raises(StorageError, match="PostgreSQL") as caught:
            open_database(address)
        text = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in text, address
        assert PASSWORD not in text, address
