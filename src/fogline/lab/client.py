"""Commands to a running lab, from any process of the same user."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from fogline.jobs.files.reading import value_of
from fogline.lab.errors import LabError

SECONDS = 10.0


def send_command(path: Path | str, command: str, **arguments: Any) -> dict[str, Any]:
    """Send a command to a lab's control socket and wait for the answer.

    Commands: ``set`` (``link``, ``changes``), ``counters``, ``links``, ``stop``.

    Raises:
        LabError: no lab listens there, or it refuses; one sentence.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except OSError as wrong:
        raise LabError(f"No lab answers at '{path}' ({wrong}); it has ended, or never began.") from None
    if not line:
        raise LabError(f"The lab at '{path}' ended before it answered.")
    answer = cast("dict[str, Any]", json.loads(line))
    if "error" in answer:
        raise LabError(str(answer["error"]))
    return answer


def parse_changes(pairs: Sequence[str]) -> Mapping[str, Any]:
    """The table that ``rate=64kbit up.loss=0.1 partition=true`` means: values as in TOML, or else text.

    Raises:
        LabError: there is none, or one is no ``key=value``.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        side, dot, name = key.strip().rpartition(".")
        if not equals or not name or (dot and not side):
            raise LabError(f"'{pair}' is no change; write key=value, such as partition=true or up.rate=64kbit.")
        table = changes.setdefault(side, {}) if dot else changes
        if not isinstance(table, dict):
            raise LabError(f"'{pair}' sets a part of '{side}', which was given whole.")
        table[name] = value_of(text)
    if not changes:
        raise LabError("There is nothing to change; give key=value, such as partition=true.")
    return changes
