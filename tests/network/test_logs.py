"""Lines of logs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fogline.cli.commands.jobs.watch import as_text
from fogline.logs import FORMAT, Printed, about, begin, speak_for, stamp, write_logs
from fogline.network.cloud.records import LogLine, Record
from fogline.network.transport.messages import Blob

WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@contextmanager
def log_taken() -> Iterator[io.StringIO]:
    """What the program's log takes meanwhile."""
    root, ours = logging.getLogger(), logging.getLogger("fogline")
    before = root.handlers[:], root.level, ours.level
    to = io.StringIO()
    write_logs(to)
    yield to
    root.handlers[:], root.level, ours.level = before


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    with log_taken() as to:
        yield to


def test_a_line_has_date_and_level_and_where_known_job_and_round(written: io.StringIO) -> None:
    log = logging.getLogger("fogline.network")
    log.info("nobody's")
    with about("j-1"):
        log.warning("a job's")
        with about("j-1", 3):
            log.error("a round's")
    log.info("nobody's again")
    expected = [
        "INFO nobody's",
        "WARNING job=j-1 a job's",
        "ERROR job=j-1 round=3 a round's",
        "INFO nobody's again",
    ]
    lines = written.getvalue().splitlines()
    assert len(lines) == 4
    for line, text in zip(lines, expected, strict=True):
        assert re.fullmatch(f"{WHEN} {re.escape(text)}", line), line


def test_tasks_that_run_beside_each_other_do_not_mix_their_jobs(written: io.StringIO) -> None:
    log = logging.getLogger("fogline.network")

    async def work(job: str, mine: asyncio.Event, other: asyncio.Event) -> None:
        begin(job, 1)
        mine.set()
        await other.wait()
        log.info("of %s", job)
        await asyncio.create_task(deeper(job))

    async def deeper(job: str) -> None:
        log.info("of %s", job)

    async def both() -> None:
        a, b = asyncio.Event(), asyncio.Event()
        await asyncio.gather(work("a", a, b), work("b", b, a))
        log.info("of nobody")

    asyncio.run(both())
    lines = written.getvalue().splitlines()
    assert len(lines) == 5
    for line in lines:
        job = line.rpartition(" ")[2]
        assert ("job=" in line) == (job != "nobody")
        assert job == "nobody" or f"job={job} round=1 " in line


def test_libraries_are_heard_when_something_is_wrong(written: io.StringIO) -> None:
    logging.getLogger("somebody").info("chatter")
    logging.getLogger("somebody").warning("trouble")
    assert written.getvalue().splitlines()[0].endswith(" WARNING trouble")


def test_what_is_printed_becomes_lines(written: io.StringIO) -> None:
    printed = Printed(sys.stdout, logging.INFO)
    with about("j-1", 2):
        print("one", "two", file=printed)
        print("a\nb", end="", file=printed)
        printed.flush()
        printed.flush()
    lines = [line.partition("round=2 ")[2] for line in written.getvalue().splitlines()]
    assert lines == ["one two", "a", "b"]


def test_what_others_say_begins_no_line_and_moves_no_cursor(written: io.StringIO) -> None:
    """A device's reason, in the log and in that of a job."""
    forged = "broken\n2026-01-01 00:00:00 INFO cloud: all is well\x1b[2A"
    logging.getLogger("fogline.network").warning("press-1: %s", forged)
    record = Record("j-1", "j", "running", 0, 1, "ana", "", Blob("0" * 64, 1), 0.0)
    shown = as_text(LogLine(0.0, "press-1", "failed", why=forged), record)
    for text in (written.getvalue().rstrip("\n"), shown):
        assert "broken\\n2026-01-01 00:00:00 INFO cloud: all is well\\x1b[2A" in text
        assert text.isprintable()


def test_a_traceback_stands_below_its_line(written: io.StringIO) -> None:
    try:
        raise KeyError("a\nb")
    except KeyError:
        logging.getLogger("fogline.network").exception("it failed")
    first, second, *_ = written.getvalue().splitlines()
    assert first.endswith("it failed")
    assert second.startswith("Traceback")


def test_a_job_s_own_log_reads_the_same() -> None:
    assert re.fullmatch(f"{WHEN} WARNING job=j-1 round=4", stamp(0.0, "WARNING", "j-1", 4))
    assert LogLine(0.0, "cloud", "failed", why="it ended").level == logging.ERROR
    assert LogLine(0.0, "fog-0", "failed", child="d", why="no memory").level == logging.WARNING
    assert LogLine(0.0, "cloud", "began").level == logging.INFO
    assert LogLine(0.0, "fog-0", "away", child="d", why="no memory").text == "fog-0: away d: no memory"


def test_lines_for_programs_are_objects_with_node_job_and_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORMAT, "json")
    log = logging.getLogger("fogline.network")

    async def work(node: str) -> None:
        speak_for(node)
        log.info("up")
        with about("j-1", 3):
            try:
                raise ValueError("ünplugged\nhere")
            except ValueError:
                log.exception("a sensor of %s", node)

    async def both() -> None:
        await asyncio.gather(asyncio.create_task(work("press-0")), asyncio.create_task(work("press-1")))
        log.info("nobody's")

    with log_taken() as to:
        asyncio.run(both())
    lines = [json.loads(line) for line in to.getvalue().splitlines()]
    first, failed, _, second_failed, nobody = lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("at"))
    assert first == {"level": "INFO", "node": "press-0", "logger": "fogline.network", "text": "up"}
    assert (failed["level"], failed["job"], failed["round"]) == ("ERROR", "j-1", 3)
    assert failed["text"] == "a sensor of press-0"
    assert failed["traceback"].endswith("ValueError: ünplugged\nhere")
    assert second_failed["node"] == "press-1"
    assert not {"node", "job", "round", "traceback"} & nobody.keys()
