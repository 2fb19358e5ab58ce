"""A job that waits for an owner, with the real commands: it survives whatever happens to the cloud meanwhile."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.network.commands import Terminal
from tests.network.processes import free_port


@pytest.mark.slow
def test_a_job_waits_for_its_owner_through_a_kill_of_the_cloud(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "operator")
    listen, door = (f"127.0.0.1:{free_port()}" for _ in range(2))
    here = ("--listen", listen, "--door", door)
    terminal.ok("cloud", "init")
    cloud = terminal.start("cloud", "run", *here)
    cloud.until("listens at")
    token = terminal.token("--role", "owner")
    said = terminal.ok(
        "join", terminal.door(), "--token", token, "--role", "owner", "--name", "ines", "--folder", "ines"
    )
    policy = terminal.folder / "fogline-cloud" / "policy.toml"
    policy.write_text(f"{policy.read_text()}approval = true\n{said[said.index('[[owner]]') :]}")
    said = terminal.ok("jobs", "submit", "job.toml")
    assert "is waiting for the approval of ines" in said
    first = said.rpartition("watch ")[2].strip()
    assert cloud.end(signal.SIGKILL) != 0
    cloud = terminal.start("cloud", "run", *here)
    cloud.until("listens at")
    assert "waiting for the approval of ines" in terminal.ok("jobs", "list")
    assert "waiting for the approval of ines" in terminal.ok("jobs", "show", first)
    owner = ("--cloud", "ines")
    assert first in terminal.ok("approvals", "list", *owner)
    assert "say --yes" in terminal.refused("approvals", "approve", first, *owner)
    assert "only data owners may approve" in terminal.refused(
        "approvals", "approve", first, "--yes", "--key", "ines/owner.key"
    )
    said = terminal.ok("approvals", "approve", first, "--yes", *owner)
    assert "Nothing that was approved before is known" in said
    assert "small.py" in said
    assert f"ines approved job {first}" in said
    assert "waiting for the approval" not in terminal.ok("jobs", "show", first)
    terminal.ok("jobs", "stop", first)

    more = terminal.ok("jobs", "submit", "job.toml", "--set", "rounds=9").rpartition("watch ")[2].strip()
    assert "rounds was 3 and is 9" in terminal.ok("approvals", "show", more, *owner)
    told = json.loads(terminal.ok("approvals", "show", more, "--json", *owner))
    assert (told["job"], told["missing"]) == (more, ["ines"])
    assert "rounds was 3 and is 9" in " ".join(told["facts"].values())
    assert "needs a reason" in terminal.refused("approvals", "refuse", more, "--reason", " ", *owner)
    terminal.ok("approvals", "refuse", more, "--reason", "too many rounds", *owner)
    assert "refused by ines: too many rounds" in terminal.ok("jobs", "show", more)
    (said,) = json.loads(terminal.ok("jobs", "show", more, "--json"))["said"]
    assert said == {"owner": "ines", "verdict": "refuse", "reason": "too many rounds"}
    assert cloud.end() == 0
