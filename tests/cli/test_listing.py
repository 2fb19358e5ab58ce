"""Lists: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, cast

import pytest
from cyclopts import App

from fogline.cli import main
from fogline.cli.app import app
from fogline.cli.commands import approvals
from fogline.cli.failures import reported
from fogline.cli.listing import Listing, present, print_json
from fogline.cli.telling import tell
from fogline.network.cloud.client import OperatorApiError
from fogline.network.cloud.owners.data_owner import ExaminedJob
from fogline.network.cloud.records import ApprovalReport, Word
from fogline.network.transport.messages import Blob

LISTS = {"list", "algorithms", "datasets", "engines", "executors", "counters", "logs", "roles", "show"}


def commands(group: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """All commands that do something, with the words that call them."""
    for name in group:
        if name.startswith("-"):
            continue
        command = group[name]
        yield (*path, name), command
        yield from commands(command, (*path, name))


def test_every_list_takes_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = [path for path, _ in commands(app) if path[-1] in LISTS and path != ("show",)]  # A run's files are JSON.
    assert {"jobs list", "nodes list", "models list", "lab list", "algorithms"} <= {" ".join(path) for path in found}
    for path in found:
        main([*path, "--help"])
        assert "--json" in capsys.readouterr().out, path


def test_whatever_calls_itself_a_list_is_held_to_it() -> None:
    """A new command that lists things is found by its first words."""
    for path, command in commands(app):
        if command.help.startswith("List "):
            assert path[-1] in LISTS, path


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (["algorithms"], {"kind", "name", "summary", "parameters"}),
        (["datasets"], {"name", "summary", "files"}),
        (["engines"], {"backend", "engine", "summary", "installed"}),
        (["executors"], {"name", "summary"}),
        (["roles"], {"call", "may", "who", "reach", "command"}),
        (["lab", "list"], set()),
    ],
)
def test_json_is_an_array_of_objects_and_nothing_else(
    command: list[str], keys: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*command, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert isinstance(said, list)
    assert all(keys <= set(item) for item in said)
    assert said or not keys


def test_a_method_s_parameters_have_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    main(["algorithms", "--json"])
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["fedprox"]["parameters"]["mu"] == "0.01"
    assert (found["fedprox"]["kind"], found["oort"]["kind"]) == ("method", "policy")


def test_a_table_and_its_array_hold_the_same_things(capsys: pytest.CaptureFixture[str]) -> None:
    listing = Listing(("name", "size"), empty="There is none.", title="Things", numbers=frozenset({"size"}))
    present([listing], json=True)
    assert json.loads(capsys.readouterr().out) == []
    present([listing], json=False)
    assert "There is none." in capsys.readouterr().out
    listing.add({"name": "a[0]", "size": 3}, "a\\[0]", "3 B")
    present([listing], json=True)
    assert json.loads(capsys.readouterr().out) == [{"name": "a[0]", "size": 3}]
    present([listing], json=False)
    assert "a[0]" in capsys.readouterr().out


def test_numbers_that_json_has_not_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"loss": math.nan, "best": math.inf}])
    assert json.loads(capsys.readouterr().out) == [{"loss": None, "best": None}]


def test_what_others_say_does_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's words for its owner, a reason, an error: none moves the cursor over what was said before."""
    monkeypatch.setenv("COLUMNS", "200")
    evil = "fine\x1b[2K\rfiner"
    tell(evil)
    words = (Word("mallory", "refuse", evil, 0.0),)
    report = ApprovalReport("toy-1", "toy", "waiting", evil, 0.0, Blob("0" * 64, 1), evil, said=words)
    approvals._show(ExaminedJob(report, cast("Any", None), ((evil, evil),)))
    with pytest.raises(SystemExit), reported(debug=False):
        raise OperatorApiError(evil)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "\x1b" not in text
        assert "\r" not in text
        assert "fine\\x1b[2K\\rfiner" in text
    assert out.count("fine\\x1b") == 6
