"""``fogline models`` as people use it: real commands, a real cloud, a device that serves."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network.commands import Program, Terminal
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow
LOCAL = ("--listen", "127.0.0.1:0", "--door", "127.0.0.1:0")
PORTS = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
DIGITS = Path(__file__).parents[1] / "serving" / "digits.py"
JOB = """
name = "{name}"
task = "digits:task"
rounds = {rounds}
[local]
learning_rate = {rate}
[task_parameters]
clients = 1
[tree.cloud]
[publish]
rings = [1.0]
ring_time = 0.2
probation = {{ seconds = 0.2, requests = 1, longest = 0.5 }}
"""


class Site:
    """A terminal in the folder of an operator whose cloud runs, with one device that serves."""

    def __init__(self, folder: Path) -> None:
        self.terminal = Terminal(folder)
        shutil.copy(DIGITS, folder)
        self.ok, self.refused = self.terminal.ok, self.terminal.refused
        self.ok("cloud", "init")
        self.cloud = self.terminal.start("cloud", "run", *LOCAL)
        self.cloud.until("listens at")
        token, signer = self.terminal.token(), self.terminal.signer()
        self.ok(
            "join", self.terminal.door(), "--token", token, "--name", "press", "--folder", "press", "--trust", signer
        )
        self.device = self.terminal.start("device", "run", "--folder", "press", "--serve", *PORTS)
        said = self.device.until("answers predictions at http://")
        self.address = said.rpartition("http://")[2].split()[0]

    def train(self, name: str, rounds: int = 1, rate: float = 0.01, *options: str) -> None:
        """Run a job to its good end."""
        watching = self.terminal.start("jobs", "watch", self.submit(name, rounds, rate, *options))
        assert watching.wait() == 0, watching.said

    def submit(self, name: str, rounds: int = 1, rate: float = 0.01, *options: str) -> str:
        """The id of a job that runs from now on."""
        (self.terminal.folder / f"{name}.toml").write_text(JOB.format(name=name, rounds=rounds, rate=rate))
        return self.ok("jobs", "submit", f"{name}.toml", *options).rpartition("watch ")[2].strip()

    def models(self, *arguments: str) -> str:
        return self.ok("models", *arguments)

    def have(self, versions: int) -> None:
        """See that there are so many of digits, whichever tests ran before."""
        while self.terminal.run("models", "show", f"digits@{versions}").returncode != 0:
            self.train("digits")
            self.until_released()

    def version(self, model: str) -> int:
        """What the device answers with; 0 where it does not."""
        found = _get(self.address, f"/v2/models/{model}")
        return max((int(version) for version in found.get("versions", [])), default=0)

    def until(self, model: str, version: int) -> None:
        end = time.monotonic() + PATIENCE
        while self.version(model) != version:
            assert time.monotonic() < end, f"the device does not serve version {version} of {model}"
            time.sleep(0.1)

    def until_shown(self, text: str, *arguments: str) -> str:
        """Wait until a command says so."""
        end = time.monotonic() + PATIENCE
        while text not in (said := self.models(*arguments)):
            assert time.monotonic() < end, said
        return said

    def until_released(self) -> None:
        """Wait until nothing is being rolled out."""
        end = time.monotonic() + PATIENCE
        while "rolling" in (said := self.models("list")):
            assert time.monotonic() < end, said

    def close(self) -> None:
        assert self.device.end() == 0
        assert self.cloud.end() == 0
        left = self.terminal.left_after(10)
        for process in left:
            os.kill(process, signal.SIGKILL)
        assert left == []


def _get(address: str, path: str) -> Any:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("operator"))
    try:
        assert "There is no model yet" in made.models("list")
        made.train("digits")
        made.until("digits", 1)
        yield made
    finally:
        made.close()


def test_a_version_is_listed_and_shown(site: Site) -> None:
    said = site.until_shown("1 committed", "list")
    header, line = said.splitlines()[:2]
    assert header.split() == ["model", "version", "made", "result", "from", "served", "by"]
    assert line.split()[:2] == ["digits", "1"]
    assert "accuracy 0.9" in line
    facts = site.models("show", "digits")
    assert "digits, version 1" in facts
    assert "press: committed" in facts
    assert "takes     input FP32[n, 1, 8, 8]" in facts
    assert "Version 1 is published." in facts
    told = json.loads(site.models("show", "digits", "--json"))
    assert (told["model"], told["version"], told["nodes"]) == ("digits", 1, {"press": "committed"})
    assert told["card"]["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert (told["digest"] in facts, told["card"]["lineage"]["rounds"]) == (True, 1)
    assert "Version 1 is published." in [note["text"] for note in told["notes"]]


def test_a_job_starts_from_a_version_and_operators_go_back_and_forth(site: Site) -> None:
    site.train("digits", 1, 0.01, "--set", "start=digits@1")
    site.until("digits", 2)
    site.until_shown("press: committed", "show", "digits@2")
    for start, why in (("nothing@1", "There is no model 'nothing' here"), ("digits@9", "version 9")):
        watching = site.terminal.start("jobs", "watch", site.submit("digits", 1, 0.01, "--set", f"start={start}"))
        assert watching.wait() == 1
        assert why in watching.said
        assert "Traceback" not in watching.said

    assert "version 1" in site.models("rollback", "digits")
    site.until("digits", 1)
    assert "version 2" in site.models("promote", "digits@2", "--rings", "0.5", "--rings", "1")
    site.until("digits", 2)
    site.until_released()


def test_a_rollout_is_held_ended_and_approved(site: Site) -> None:
    site.until_released()
    site.have(2)
    assert "nothing is being rolled out" in site.refused("models", "resume", "digits")
    assert "is no duration" in site.refused("models", "promote", "digits@1", "--ring-time", "long")
    site.models("promote", "digits@1", "--ring-time", "1h")
    site.models("pause", "digits")
    assert "paused" in site.models("list")
    site.models("resume", "digits")
    site.until("digits", 1)
    listed = " ".join(site.models("list").split())
    assert re.search(r"rolling, ring 100 % for (1 h|59 min( \d+ s)?) more at least", listed), listed
    rolling, *others = [found["next_ring"] for found in json.loads(site.models("list", "--json")) if found["next_ring"]]
    assert others == []
    assert 3300 < rolling - time.time() <= 3600
    site.models("advance", "digits")
    assert "nothing is being rolled out" in site.refused("models", "advance", "digits")
    assert "digits version 1 is approved" in site.models("approve", "digits@1")
    assert "1 (approved)" in site.models("list")
    site.models("approve", "digits@1", "--withdraw")
    assert "approved" not in site.models("list")
    site.models("promote", "digits@2", "--ring-time", "0.2s")  # Later rollouts take the time of the one before.
    site.until("digits", 2)
    site.until_released()


def test_a_version_goes_to_another_cloud(site: Site, tmp_path: Path) -> None:
    said = site.models("export", "digits@1", str(tmp_path / "digits.fogline"))
    assert "fogline models import" in said
    assert str(tmp_path / "digits-1.fogline") in site.models("export", "digits@1", str(tmp_path))
    other = Terminal(tmp_path / "other")
    other.ok("cloud", "init")
    cloud: Program = other.start("cloud", "run", *LOCAL)
    try:
        cloud.until("listens at")
        said = other.ok("models", "import", "../digits.fogline")
        assert "Imported as digits version 1" in said
        assert "import" in other.ok("models", "list")
        assert "No job of this cloud" in other.refused("models", "retrain", "digits", "--psi", "0.25")
        assert "the same" not in other.ok("models", "promote", "digits")
    finally:
        cloud.end()


def test_models_are_linked(site: Site) -> None:
    site.train("better", 3, 0.05)
    said = site.models("link", "digits", "better", "--budget", "0.3")
    version = said.partition("version ")[2].split()[0]
    assert "of the samples" in said
    facts = site.models("show", f"digits@{version}")
    assert "asks      better below a confidence of" in facts
    site.models("promote", f"digits@{version}", "--tiers", "device")
    site.until("digits", int(version))
    site.until_released()
    assert "cannot be reached" in site.refused("models", "link", "digits", "better", "--accuracy", "1")
    assert "its job runs again" in site.models("retrain", "digits", "--psi", "0.3", "--cooldown", "6h")
    assert "no longer" in site.models("retrain", "digits", "--never")


def test_keys_are_replaced_and_signed_anew_and_nodes_follow(site: Site) -> None:
    online, offline = (site.terminal.folder / "fogline-cloud" / part / "release-keys" for part in (".", "operator"))

    def keys() -> dict[str, dict[str, Any]]:
        return {item["role"]: item for item in json.loads(site.models("keys", "list", "--json"))}

    def files() -> set[Path]:
        return {*online.glob("*.key"), *offline.glob("*.key")}

    site.have(2)
    first, old = keys(), files()
    for command, changed, goal in (
        (["rotate", "online"], {"timestamp", "snapshot", "rounds"}, 2),
        (["rotate", "offline"], {"root", "targets"}, 1),
        (["prolong"], set[str](), 2),
    ):
        before = keys()
        assert "nodes follow" in site.models("keys", *command)
        after = keys()
        assert {role for role in after if after[role]["key"] != before[role]["key"]} == changed
        assert all(after[role]["version"] == before[role]["version"] + 1 for role in ("root", "targets"))
        assert after["root"]["expires"] > before["root"]["expires"]
        site.models("promote", f"digits@{goal}", "--rings", "1")
        site.until("digits", goal)
        site.until_released()
    assert not {item["key"] for item in first.values()} & {item["key"] for item in after.values()}
    for path in old:  # They count no more, so that nothing needs them.
        path.unlink()
    site.models("approve", "digits@1")
    site.models("promote", "digits@1", "--rings", "1")
    site.until("digits", 1)
    site.until_released()
    site.models("approve", "digits@1", "--withdraw")

    made = files()
    for command in (["rotate", "online"], ["rotate", "offline"], ["prolong"]):
        said = site.refused("models", "keys", *command, "--keys", str(site.terminal.folder / "none"))
        assert "There are no keys for releases in" in said
    assert 'Choose from: "online", "offline"' in site.refused("models", "keys", "rotate", "all")
    assert files() == made


def test_mistakes_are_sentences(site: Site, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        return site.refused("models", *arguments)

    for command in ("show", "promote", "rollback", "approve", "pause", "resume", "abort", "export"):
        assert "There is no model 'nothing' here" in refused(command, "nothing"), command
    for command in ("show", "promote", "rollback", "approve", "export"):
        assert "version 99" in refused(command, "digits@99"), command
    for text in ("digits@latest", "digits@0"):
        for command in ("show", "promote", "rollback", "approve", "export"):
            assert "write NAME or NAME@VERSION" in refused(command, text), command
    for command in (*(["pause"], ["resume"], ["advance"], ["abort"]), ["retrain", "--psi", "0.25"]):
        assert "write digits" in refused(command[0], "digits@1", *command[1:]), command
    assert "write digits" in refused("link", "digits@1", "better", "--budget", "0.3")
    for share in ("--budget", "--accuracy"):
        assert "from 0 to 1" in refused("link", "digits", "better", share, "1.5")
    assert "above 0" in refused("retrain", "digits", "--psi", "nan")
    assert "There is no file" in refused("import", "nothing.fogline")
    (site.terminal.folder / "bad.fogline").write_bytes(b"PK\x03\x04 no archive")
    assert "The model archive is damaged or cut off" in refused("import", "bad.fogline")
    assert "release-keys" not in refused("approve", "digits@1", "--keys", str(tmp_path / "none"))
    assert "There is no model 'nothing'" in refused("link", "digits", "nothing", "--budget", "0.3")
    assert "--accuracy" in refused("link", "digits", "better")
    assert "cannot ask itself" in refused("link", "digits", "digits", "--budget", "0.3")
    assert "--psi" in refused("retrain", "digits")
    assert "--cooldown" in refused("retrain", "digits", "--psi", "0.25", "--cooldown", "soon")
    assert "rise" in refused("promote", "digits", "--rings", "0.5", "--rings", "0.2")
    site.models("rollback", "digits@1")
    for command in ("pause", "resume", "advance", "abort"):
        assert "nothing is being rolled out" in refused(command, "digits"), command
