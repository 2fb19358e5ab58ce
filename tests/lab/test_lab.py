"""Real packets between real network namespaces."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fogline.lab import Lab, LabError, find_lab, parse_changes, running_labs, send_command, why_not
from tests.lab.conftest import TREE
from tests.lab.programs import CONTROL, ECHO, FLOOD, PING, SEND, SINK, output, serving
from tests.patience import PATIENCE

LONG = 60
"""Seconds that a packet may take."""


def until(there: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_delay_loss_and_partition_change_at_run_time(lab: Lab) -> None:
    with serving(lab, "cloud", ECHO):
        lab.set("fog", delay="20ms")
        # A busy machine may be late; no packet may be early.
        times = output(lab, "fog", PING, "cloud", 5, LONG)
        assert len(times) == 5
        assert min(times) >= 0.040
        before = lab.counters()["fog"]
        lab.set("fog", delay=0, up={"loss": 0.5})
        output(lab, "fog", PING, "cloud", 100, 0.02)
        until(lambda: lab.counters()["fog"]["up"].packets >= before["up"].packets + 100)
        lost = lab.counters()["fog"]["up"].lost
        assert 30 < lost < 70
        until(lambda: lab.counters()["fog"]["down"].packets == lab.counters()["fog"]["up"].packets - lost)
        lab.set("fog", loss=0)
        lab.partition("fog")
        assert output(lab, "fog", PING, "cloud", 3, 0.05) == []
        lab.partition("fog", on=False)
        assert len(output(lab, "fog", PING, "cloud", 3, LONG)) == 3


def test_the_rate_is_kept_and_bytes_are_counted(lab: Lab) -> None:
    lab.set("fog", rate="8Mbit")
    with serving(lab, "cloud", SINK):
        assert output(lab, "fog", SEND, "cloud", 1_500_000)[0] > 1.4
    up = lab.counters()["fog"]["up"]
    assert 1_500_000 < up.bytes < 1_900_000
    assert lab.counters()["dev"]["up"].bytes == 0


def test_a_full_queue_drops(lab: Lab) -> None:
    lab.set("fog", rate="1kbit", queue="10kB")  # Eight seconds a packet.
    output(lab, "fog", FLOOD, lab.address("cloud"), 60, 1000)
    until(lambda: lab.counters()["fog"]["up"].dropped >= 45)
    up = lab.counters()["fog"]["up"]
    assert up.dropped <= 51
    assert up.packets < 15


def test_loss_slows_tcp_down(lab: Lab) -> None:
    """What BBR, the default of some machines, would hide: a lab's links have a congestion control that feels loss."""
    with serving(lab, "cloud", SINK):
        assert output(lab, "fog", CONTROL, "cloud") == [1]


def test_nodes_without_a_link_do_not_reach_each_other(lab: Lab) -> None:
    with serving(lab, "cloud", ECHO):
        program = lab.spawn(
            "dev", [sys.executable, "-S", "-c", PING, "cloud", "1", "1"], stderr=subprocess.PIPE, text=True
        )
        _, said = program.communicate(timeout=PATIENCE)
    assert "Network is unreachable" in said
    # A device cannot go through the fog either, even with a route of its own.
    routed = lab.spawn("dev", ["ip", "route", "add", lab.address("cloud"), "dev", "lab0"])
    assert routed.wait(PATIENCE) == 0
    with serving(lab, "cloud", ECHO):
        assert output(lab, "dev", PING, lab.address("cloud"), 2, 0.1) == []


def test_events_of_the_file_happen(possible: None) -> None:
    event = {"at": "500ms", "node": "fog", "set": {"partition": True}}
    with Lab({"nodes": TREE, "event": [event]}) as lab, serving(lab, "cloud", ECHO):
        until(lambda: lab.links()["fog"]["up"]["partition"])
        assert output(lab, "fog", PING, "cloud", 2, 0.05) == []
        lab.partition("fog", on=False)
        assert len(output(lab, "fog", PING, "cloud", 2, LONG)) == 2


def test_a_link_follows_a_trace(possible: None, tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("seconds,rate,delay\n1000,1Mbit,1s\n1000,1Mbit,0\n")
    links = {"fog": {"trace": str(path), "start": "0s"}}
    with Lab({"nodes": TREE, "links": links}) as lab, serving(lab, "cloud", ECHO):
        assert min(output(lab, "fog", PING, "cloud", 1, LONG)) >= 2.0
        lab.set("fog", start="1100s")
        assert min(output(lab, "fog", PING, "cloud", 5, LONG)) < 2.0
        lab.set("fog", loss=1.0)
        assert output(lab, "fog", PING, "cloud", 2, 0.05) == []


def test_another_process_finds_and_commands_the_lab(lab: Lab) -> None:
    assert lab.name in [other.name for other in running_labs()]
    other = find_lab(lab.name)
    assert other.address("dev") == lab.address("dev")
    send_command(other.socket, "set", link="fog", changes=parse_changes(["rate=64kbit", "down.partition=true"]))
    link = lab.links()["fog"]
    assert link["up"]["rate"] == 8000
    assert (link["up"]["partition"], link["down"]["partition"]) == (False, True)
    with other.spawn("dev", ["hostname"], stdout=subprocess.DEVNULL) as program:
        assert program.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ({"command": "set", "link": "fgo", "changes": {}}, "did you mean 'fog'?"),
        ({"command": "set", "link": "fog", "changes": {"rat": 1}}, "fog.rat is no key of a lab; did you mean 'rate'?"),
        ({"command": "set", "link": "fog", "changes": {"trace": "no.csv"}}, "There is no trace at"),
        ({"command": "dance"}, "A lab's commands are"),
    ],
)
def test_wrong_commands_are_refused_with_a_sentence(lab: Lab, command: dict[str, str], says: str) -> None:
    with pytest.raises(LabError) as wrong:
        send_command(lab.socket, **command)
    assert says in str(wrong.value)
    assert lab.counters().keys() == {"fog", "dev"}


def test_unknown_nodes_and_programs_are_said(lab: Lab) -> None:
    with pytest.raises(LabError, match="no node 'cluod'; did you mean 'cloud'"):
        lab.address("cluod")
    with pytest.raises(LabError, match="no program 'no-such-program'"):
        lab.spawn("dev", ["no-such-program"])


def test_a_user_namespace_is_enough(possible: None) -> None:
    if (reason := why_not(rootless=True)) is not None:
        pytest.skip(reason)
    with Lab({"nodes": TREE, "links": {"default": {"delay": "10ms"}}}, rootless=True) as lab:
        with serving(lab, "cloud", ECHO):
            assert min(output(lab, "fog", PING, "cloud", 3, LONG)) >= 0.020
        program = lab.spawn("dev", ["sleep", "100"])
    assert program.returncode != 0


async def _async_use() -> float:
    async with Lab({"nodes": TREE}) as lab:
        with serving(lab, "cloud", ECHO):
            return output(lab, "fog", PING, "cloud", 1, LONG)[0]


def test_it_works_in_asyncio(possible: None) -> None:
    assert asyncio.run(_async_use()) > 0
