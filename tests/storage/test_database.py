"""Records: one behaviour over SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogline.storage import BlobRef, Database, StorageError, open_database
from fogline.storage.database import PAGE
from fogline.storage.migrations import STEPS
from tests.patience import PATIENCE
from tests.storage import child
from tests.storage.conftest import fresh_schema


def value(seed: int = 0) -> BlobRef:
    return BlobRef(sha256(bytes([seed])).hexdigest(), seed, "model")


def test_a_stream_gives_back_what_was_appended_in_order(database: Database) -> None:
    database.append("node", [b"a", b""], {"x": value(1), "y": value(2)})
    database.append("node", [b"b", b"a"], {"x": None, "z": value(3)})
    assert list(database.read("node")) == [b"a", b"", b"b", b"a"]
    assert database.values("node") == {"y": value(2), "z": value(3)}
    assert database.digests() == {value(2).digest, value(3).digest}


def test_streams_stand_apart(database: Database) -> None:
    for stream in ("b", "a", "ä"):
        database.append(stream, [stream.encode()], {"same": value(len(stream))})
    database.append("empty", [])
    assert database.streams() == ["a", "b", "empty", "ä"]
    database.drop("b")
    database.drop("never there")
    assert database.streams() == ["a", "empty", "ä"]
    assert list(database.read("b")) == []
    assert database.values("b") == {}
    database.append("b", [b"anew"])
    assert list(database.read("b")) == [b"anew"]


def test_a_long_stream_is_read_page_after_page(database: Database) -> None:
    entries = [b"%d" % number for number in range(2 * PAGE + 1)]
    database.append("long", entries)
    assert list(database.read("long")) == entries


def test_an_append_that_fails_leaves_nothing(database: Database) -> None:
    database.append("node", [b"before"])
    with pytest.raises(TypeError):
        database.append("node", [b"good", "bad"], {"x": value()})  # type: ignore[list-item]
    for wrong in (BlobRef("../../etc/passwd", 1, "k"), BlobRef("A" * 64, 1, "k"), BlobRef("a" * 64, 2**63, "k")):
        with pytest.raises(ValueError, match=r"digest|bytes"):
            database.append("node", [b"good"], {"x": wrong})
    database.append("node", [b"after"])
    assert list(database.read("node")) == [b"before", b"after"]
    assert database.values("node") == {}


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\ud800"])
def test_names_that_one_of_the_databases_cannot_hold_are_refused(database: Database, name: str) -> None:
    for call in (
        lambda: database.append(name, []),
        lambda: list(database.read(name)),
        lambda: database.append("s", [], {name: None}),
        lambda: database.put("kind", name, b""),
        lambda: database.get(name, "key"),
        lambda: database.note(name, b""),
    ):
        with pytest.raises(ValueError, match="name for a record"):
            call()


def test_documents_come_sorted_by_code_points(database: Database) -> None:
    keys = ["ä", "b", "B", "a b", "😀", "a", "_"]
    for key in keys:
        database.put("job", key, key.encode())
    database.put("node", "a", b"another kind")
    database.put("job", "b", b"\0\xff")
    assert [key for key, _ in database.all("job")] == sorted(keys)
    assert database.get("job", "b") == b"\0\xff"
    database.delete("job", "b")
    database.delete("job", "b")
    assert database.get("job", "b") is None
    assert database.get("node", "a") == b"another kind"


def test_swap_changes_only_what_it_was_told(database: Database) -> None:
    def swap(before: bytes | None, after: bytes | None) -> tuple[bool, bytes | None]:
        return database.swap("token", "t", before, after), database.get("token", "t")

    assert swap(b"x", b"y") == (False, None)
    assert swap(b"x", None) == (False, None)
    assert swap(None, None) == (True, None)
    assert swap(None, b"x") == (True, b"x")
    assert swap(None, b"y") == (False, b"x")
    assert swap(None, None) == (False, b"x")
    assert swap(b"y", b"z") == (False, b"x")
    assert swap(b"x", b"x") == (True, b"x")
    assert swap(b"x", b"y") == (True, b"y")
    assert swap(b"x", None) == (False, b"y")
    assert swap(b"y", None) == (True, None)


def test_of_many_who_swap_at_once_one_gets_it(place: str) -> None:
    with open_database(place) as one, open_database(place) as other:

        def count(database: Database) -> None:
            done = 0
            while done < 10:
                before = database.get("count", "it")
                after = b"%d" % (int(before or b"0") + 1)
                done += database.swap("count", "it", before, after)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(count, [one, other] * 3))
        assert one.get("count", "it") == b"60"


def test_notes_are_numbered_without_gaps(database: Database) -> None:
    assert [database.note("rounds", b"%d" % n) for n in range(5)] == [1, 2, 3, 4, 5]
    assert database.note("refusals", b"x") == 1
    assert database.notes("rounds", after=2, limit=2) == [(3, b"2"), (4, b"3")]
    assert database.notes("rounds", after=5) == []
    assert database.notes("nothing") == []


def test_threads_and_connections_lose_and_double_nothing(place: str) -> None:
    with open_database(place) as one, open_database(place) as other:

        def write(number: int) -> None:
            database = (one, other)[number % 2]
            for step in range(10):
                database.append("shared", [b"%d %d" % (number, step)])
                database.note("topic", b"%d %d" % (number, step))

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(write, range(6)))
        for lines in (list(one.read("shared")), [body for _, body in other.notes("topic")]):
            assert sorted(lines) == sorted(b"%d %d" % (n, step) for n in range(6) for step in range(10))
            for number in range(6):
                mine = [line for line in lines if line.startswith(b"%d " % number)]
                assert mine == [b"%d %d" % (number, step) for step in range(10)]
        assert [number for number, _ in one.notes("topic")] == list(range(1, 61))


def test_everything_is_there_after_opening_again(place: str) -> None:
    with open_database(place) as database:
        database.append("node", [b"a"], {"x": value()})
        database.put("job", "j", b"body")
        database.note("topic", b"line")
    with open_database(place) as database:
        assert list(database.read("node")) == [b"a"]
        assert database.values("node") == {"x": value()}
        assert database.all("job") == [("j", b"body")]
        assert database.note("topic", b"line") == 2


def test_a_closed_database_says_so(place: str) -> None:
    database = open_database(place)
    database.close()
    for call in (database.streams, lambda: database.append("s", [])):
        with pytest.raises(StorageError, match="closed"):
            call()


NAMES = st.sampled_from(["a", "b", "node/1", "ü"])
VALUES = st.dictionaries(NAMES, st.none() | st.integers(0, 255).map(value), max_size=3)
ENTRIES = st.lists(st.binary(max_size=20), max_size=4)
APPENDS = st.tuples(NAMES, ENTRIES, VALUES)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(APPENDS | NAMES, max_size=12))
def test_it_behaves_as_lists_and_dictionaries(database: Database, steps: list[object]) -> None:
    """A tuple is an append, a name a drop."""
    model: dict[str, tuple[list[bytes], dict[str, BlobRef]]] = {}
    for stream in database.streams():
        database.drop(stream)
    for step in steps:
        if isinstance(step, str):
            database.drop(step)
            model.pop(step, None)
        elif isinstance(step, tuple):
            stream, entries, values = step
            database.append(stream, entries, values)
            lines, named = model.setdefault(stream, ([], {}))
            lines += entries
            named.update(values)
            for name in [name for name, v in named.items() if v is None]:
                del named[name]
    assert database.streams() == sorted(model)
    for stream, (lines, named) in model.items():
        assert list(database.read(stream)) == lines
        assert database.values(stream) == named
    assert database.digests() == {v.digest for _, named in model.values() for v in named.values()}


def test_processes_that_open_a_new_database_at_once_make_one_schema(place: str) -> None:
    children = [child.start("migrate", place) for _ in range(4)]
    for process in children:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(PATIENCE) for process in children] == [0] * 4
    with open_database(place) as database:
        assert len(list(database.read("openers"))) == 4


def test_threads_that_open_a_new_database_at_once_make_one_schema(place: str) -> None:
    """Many tries, because it is a race."""
    for number in range(8):
        if place.startswith("postgresql"):
            where = fresh_schema(int(place.partition("127.0.0.1:")[2].partition("/")[0]))
        else:
            where = f"{place}-{number}"
        together = Barrier(4)

        def work(where: str = where, together: Barrier = together) -> None:
            together.wait(PATIENCE)
            open_database(where).close()

        with ThreadPoolExecutor(4) as threads:
            for opened in [threads.submit(work) for _ in range(4)]:
                opened.result()


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(place: str) -> None:
    process = child.start("append", place)
    assert process.stdout is not None
    acknowledged = 0
    while acknowledged < 40:
        acknowledged = int(process.stdout.readline())
    process.kill()
    rest = process.stdout.read().split("\n")[:-1]
    acknowledged = int(rest[-1]) if rest else acknowledged
    process.wait(PATIENCE)
    with open_database(place) as database:
        entries = list(database.read("journal"))
        pairs = len(entries) // 2
        assert entries == [b"%d%c" % (number, letter) for number in range(pairs) for letter in b"ab"]
        # One more may have been written whose acknowledgement did not get out.
        assert pairs - 1 in (acknowledged, acknowledged + 1)
        assert database.values("journal")["last"].size == pairs - 1


def test_a_newer_schema_is_refused(place: str) -> None:
    open_database(place).close()
    if place.startswith("postgresql"):
        import psycopg

        with psycopg.connect(place) as connection:
            connection.execute("UPDATE fogline_schema SET version = 999")
    else:
        with sqlite3.connect(place) as lite:
            lite.execute("UPDATE fogline_schema SET version = 999")
    with pytest.raises(StorageError, match=f"newer Fogline .*999, this one knows {len(STEPS)}"):
        open_database(place)


@pytest.mark.parametrize("where", ["mysql://root:hunter2@host/db", "ftp://x"])
def test_an_address_of_another_kind_is_refused(where: str) -> None:
    with pytest.raises(StorageError, match="name a file") as caught:
        open_database(where)
    assert "hunter2" not in str(caught.value)


def test_a_topic_that_is_forgotten_begins_anew_and_others_stay(database: Database) -> None:
    for topic in ("a", "b"):
        database.note(topic, b"one")
        database.note(topic, b"two")
    database.forget("a")
    database.forget("never there")
    assert database.notes("a") == []
    assert [number for number, _ in database.notes("b")] == [1, 2]
    assert database.note("a", b"again") == 1
