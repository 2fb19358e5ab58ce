"""The commands of several people in several terminals: real processes over real sockets and mutual TLS."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.governance.identity.tokens import create_token
from tests.network.commands import Program, Terminal

pytestmark = pytest.mark.slow
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
LOCAL = ("--listen", "127.0.0.1:0", "--door", "127.0.0.1:0")
STAR = ("--set", "task_parameters.clients=2", "--set", "tree={tiers={cloud={}}}")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """The folder of an operator whose cloud runs."""
    made = Terminal(tmp_path_factory.mktemp("operator"))
    assert "fogline cloud run" in made.ok("cloud", "init")
    cloud = made.start("cloud", "run", *LOCAL)
    cloud.until("listens at")
    yield made
    assert cloud.end() == 0
    assert "Traceback" not in cloud.said
    left = made.left_after(10)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []


def joined(terminal: Terminal, name: str, trust: bool = True) -> Program:
    """A device that runs."""
    (terminal.folder / f"{name}.token").write_text(terminal.token("--site", "here"))
    signer = ("--trust", terminal.signer()) if trust else ()
    terminal.ok("join", terminal.door(), "--token", f"@{name}.token", "--name", name, "--folder", name, *signer)
    device = terminal.start("device", "run", "--folder", name)
    device.until("is connected to cloud")
    return device


def submitted(terminal: Terminal, *options: str) -> str:
    """A job of the toy task; its id."""
    return terminal.ok("jobs", "submit", "job.toml", *STAR, *options).rpartition("watch ")[2].strip()


def test_wrong_used_up_and_expired_tokens_are_refused_in_a_sentence(terminal: Terminal) -> None:
    door, good = terminal.door(), terminal.token("--names", "press-*")

    def join(name: str, token: str, *options: str) -> str:
        return terminal.refused("join", door, "--name", name, "--folder", f"no/{name}", "--token", token, *options)

    root = (terminal.folder / "fogline-cloud" / "operator" / "identity" / "root.pem").read_bytes()
    _, forged = create_token(root, "device", "main", 1, 3600, time.time())
    assert "cut off; copy all of it" in join("press-1", good[:-5])
    assert "is no Fogline token" in join("press-1", "secret")
    assert "not known here" in join("press-1", forged)
    assert "expired" in join("press-1", terminal.token("--ttl", "1ms"))
    assert "for names like press-*" in join("lathe-1", good)
    assert "for a device" in join("press-1", good, "--role", "fog")
    terminal.ok("join", door, "--name", "press-1", "--folder", "press-1", "--token", "-", given=good + "\n")
    assert "used up" in join("press-2", good)
    assert "nobody answers" in terminal.refused(
        "join", "127.0.0.1:9", "--name", "x", "--folder", "no/x", "--token", good
    )


def test_who_signed_it_must_be_known_and_both_sides_see_why_not(terminal: Terminal) -> None:
    device = joined(terminal, "stranger", trust=False)
    job = submitted(terminal)
    said = device.until("does not take part")
    sentence = "There is no policy stranger/policy.toml, so nothing may run here; to allow"
    assert sentence in said
    watching = terminal.start("jobs", "logs", "--follow", job)
    assert f"away stranger: {sentence}" in watching.until(sentence)
    assert f"away stranger: {sentence}" in terminal.ok("jobs", "logs", job)
    assert "being stopped" in terminal.ok("jobs", "stop", job)
    assert watching.wait() == 0
    assert device.end() == 0


def test_another_terminal_follows_a_job_and_stops_it(terminal: Terminal) -> None:
    devices = [joined(terminal, f"client-{i}") for i in range(2)]
    job = submitted(terminal, "--set", "rounds=100000", "--planned")
    watching = terminal.start("jobs", "watch", job)
    watching.until("round 1/100000")
    assert job in terminal.ok("jobs", "list")
    (listed,) = [item for item in json.loads(terminal.ok("jobs", "list", "--json")) if item["job"] == job]
    assert (listed["state"], listed["rounds"], listed["by"]) == ("running", 100000, "operator")
    assert "being stopped" in terminal.ok("jobs", "stop")
    assert watching.wait() == 0
    lines = terminal.ok("jobs", "logs", job).splitlines()
    for line, what in zip(lines, ("loading", "began"), strict=False):
        assert re.fullmatch(rf"{WHEN} INFO job={job} round=1 cloud: {what}", line), line
    assert re.match(rf"{WHEN} INFO job={job} round=1 cloud: round 1 of 100000, ", lines[2]), lines[2]
    told = [json.loads(line) for line in terminal.ok("jobs", "logs", job, "--json").splitlines()]
    assert [line["what"] for line in told[:3]] == ["loading", "began", "round"]
    nodes = {node["name"]: node for node in json.loads(terminal.ok("nodes", "list", "--json"))}
    assert nodes["client-0"] | {"up": True, "role": "device", "parent": "cloud"} == nodes["client-0"]
    models = json.loads(terminal.ok("models", "list", "--json"))
    assert all({"model", "version", "metrics", "nodes"} <= set(model) for model in models)
    assert f"Job {job} stopped after" in watching.said
    assert json.loads(terminal.ok("nodes", "show", "client-1", "--json"))["name"] == "client-1"
    shown = terminal.ok("nodes", "show", "client-1")
    assert "role      device" in shown
    assert "address   127.0.0.1:" in shown
    assert f"of job {job}, which is stopped" in terminal.ok("jobs", "result", job, "--to", "fetched")
    assert "Look at it: fogline show fetched" in terminal.ok("jobs", "result", "--to", "fetched")
    run = terminal.folder / "fogline-cloud" / "runs" / job
    for name in ("metrics.jsonl", "model.safetensors", "job.toml", "result.json"):
        assert (terminal.folder / "fetched" / name).read_bytes() == (run / name).read_bytes()
    assert "Global model" in terminal.ok("show", "fetched")
    (terminal.folder / "full").mkdir()
    (terminal.folder / "full" / "letters.txt").write_text("mine")
    assert "full holds other files" in terminal.refused("jobs", "result", job, "--to", "full")
    assert "is a file" in terminal.refused("jobs", "result", job, "--to", "job.toml")
    assert "cut off" in terminal.ok("nodes", "revoke", "client-1")
    assert devices[1].wait() == 1
    assert "client-1 was revoked by the operator" in devices[1].said
    assert "revoked" in terminal.ok("nodes", "list")
    assert "client-1 is forgotten" in terminal.ok("nodes", "forget", "client-1")
    assert "client-1" not in terminal.ok("nodes", "list")
    assert "client-0 is a member" in terminal.refused("nodes", "forget", "client-0")
    assert terminal.ok("jobs", "forget", "--older", "1d") == "No job has been over for so long.\n"
    assert "there is no job 'none'" in terminal.refused("jobs", "forget", "none")
    assert devices[0].end(signal.SIGTERM) == 0


def test_a_job_that_needs_what_nobody_has_says_what_is_missing(terminal: Terminal) -> None:
    device = joined(terminal, "small")
    job = submitted(terminal, "--set", "needs.memory=900GB", "--set", 'needs.tags=["scans"]')
    watching = terminal.start("jobs", "logs", "--follow", job)
    watching.until("not offered small: The job needs 900 GB of memory")
    assert "data tagged scans" in watching.said
    terminal.ok("jobs", "stop", job)
    assert watching.wait() == 0
    assert device.end() == 0


def test_an_operator_of_another_machine(terminal: Terminal) -> None:
    token = terminal.token("--role", "operator")
    said = terminal.ok(
        "join", terminal.door(), "--token", token, "--role", "operator", "--name", "ana", "--folder", "op"
    )
    assert "[[signer]]" in said
    assert "ana ed25519:" in terminal.ok("token", "create", "--cloud", "op")
    job = terminal.ok("jobs", "submit", "job.toml", *STAR, "--cloud", "op").rpartition("watch ")[2].strip()
    logs = terminal.start("jobs", "watch", job, "--cloud", "op")
    assert logs.wait() == 1
    assert "does not list who signed small:task" in logs.said, "the cloud trusts its own operator only"


def test_a_developer_of_another_machine_is_no_operator(terminal: Terminal) -> None:
    token = terminal.token("--role", "developer")
    terminal.ok("join", terminal.door(), "--token", token, "--role", "developer", "--name", "eva", "--folder", "dev")
    assert "eva is a developer; only operators may make tokens" in terminal.refused(
        "token", "create", "--role", "operator", "--cloud", "dev"
    )
    assert "only operators may revoke nodes" in terminal.refused("nodes", "revoke", "operator", "--cloud", "dev")
    job = submitted(terminal, "--priority", "1")
    assert "may stop jobs only of its own; this is operator's" in terminal.refused(
        "jobs", "stop", job, "--cloud", "dev"
    )
    assert job in terminal.ok("jobs", "list", "--cloud", "dev")
    terminal.ok("jobs", "stop", job)


def test_an_auditor_fetches_the_cloud_s_log_and_changes_nothing(terminal: Terminal) -> None:
    token = terminal.token("--role", "auditor")
    joined = ("--role", "auditor", "--name", "ines", "--folder", "ines")
    assert "audit export --cloud ines" in terminal.ok("join", terminal.door(), "--token", token, *joined)
    terminal.ok("jobs", "list", "--cloud", "ines")
    terminal.ok("audit", "export", "--cloud", "ines", "--to", "cloud.audit")
    root = ("--root", "ines/identity/root.pem")
    assert "records of cloud" in terminal.ok("audit", "verify", "cloud.audit", *root)
    shown = terminal.ok("audit", "show", "cloud.audit", "--about", "ines", "--json")
    assert '"node.joined"' in shown
    assert token not in terminal.ok("audit", "show", "cloud.audit", "--last", "0", "--json")
    assert "ines is an auditor; only operators may revoke nodes" in terminal.refused(
        "nodes", "revoke", "operator", "--cloud", "ines"
    )
    assert "ines is an auditor; only developers and operators may submit jobs" in terminal.refused(
        "jobs", "submit", "job.toml", "--cloud", "ines"
    )


def test_a_node_runs_once(terminal: Terminal) -> None:
    device = joined(terminal, "single")
    assert "The node in single runs already" in terminal.refused("device", "run", "--folder", "single")
    assert "The node in fogline-cloud runs already" in terminal.refused("cloud", "run", *LOCAL)
    assert "lost cloud" not in device.said
    assert device.end(signal.SIGKILL) != 0
    again = terminal.start("device", "run", "--folder", "single")
    again.until("is connected to cloud")
    assert again.end() == 0


def test_mistakes_are_sentences(terminal: Terminal) -> None:
    address = terminal.door().rpartition("@")[2]
    terminal.ok("cloud", "init", "--folder", "second")
    assert "has never run" in terminal.refused("jobs", "list", "--cloud", "second")
    assert "taken" in terminal.refused("cloud", "run", "--folder", "second", "--listen", address)
    assert "is no address" in terminal.refused("cloud", "run", "--folder", "second", "--listen", "here")
    assert "second" in terminal.refused("cloud", "init", "--folder", "second")
    assert "There is no operator's folder nowhere" in terminal.refused("jobs", "list", "--cloud", "nowhere")
    assert "No device has joined in nowhere" in terminal.refused("device", "run", "--folder", "nowhere")
    assert "there is no job 'nothing'" in terminal.refused("jobs", "watch", "nothing")
    assert "is no role" in terminal.refused("token", "create", "--role", "cloud")
    assert "has been connected" in terminal.refused("nodes", "show", "nobody")
    assert "needs.memory" in terminal.refused("jobs", "submit", "job.toml", "--set", "needs.memory=big")


def test_up_gives_the_model_of_the_simulation_to_the_bit(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    done = terminal.run("up", "job.toml", "--fogs", "3", "--devices", "5", "--seed", "3", "--folder", "nodes")
    assert done.returncode == 0, done.stderr
    assert "5 devices connected" in done.stderr
    assert "task_parameters.clients=5" in done.stderr
    assert "Global model" in done.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert f"fogline simulate runs/{run.name}/job.toml --engine loop" in done.stdout
    assert terminal.left() == []
    assert (tmp_path / "nodes" / "client-4" / "identity").is_dir()
    terminal.ok("simulate", f"runs/{run.name}/job.toml", "--engine", "loop", "--quiet", "--folder", "simulated")
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "simulated" / "model.safetensors").read_bytes()
    assert "Global model" in terminal.ok("show", f"runs/{run.name}")


def test_up_says_what_does_not_fit(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    text = (tmp_path / "job.toml").read_text()
    (tmp_path / "job.toml").write_text(text.replace("small:task", "small:tsk"))
    assert "did you mean 'task'?" in terminal.refused("up", "job.toml", "--quiet")
    (tmp_path / "job.toml").write_text(text)
    assert "The tree has 2 aggregators above 1 devices" in terminal.refused(
        "up", "job.toml", "--quiet", "--devices", "1"
    )
    (tmp_path / "fixed.py").write_text("from small import task as make\n\ndef task():\n    return make(3)\n")
    (tmp_path / "fixed.toml").write_text('task = "fixed:task"\nrounds = 1\n')
    assert "The task has data for 3 devices only" in terminal.refused("up", "fixed.toml", "--quiet", "--devices", "4")
    done = terminal.run("up", "fixed.toml", "--devices", "2")
    assert done.returncode == 0, done.stderr
    assert "the data of 1 is left out" in done.stderr
    assert "fogline simulate" not in done.stdout.partition("Compare")[0], "it is not the run of a simulation"
    assert "--devices is 0" in terminal.refused("up", "job.toml", "--quiet", "--devices", "0")
    assert "attack is for simulations" in terminal.refused("up", "job.toml", "--quiet", "--set", "attack.name=alie")
    few = terminal.refused("up", "job.toml", "--quiet", "--devices", "2", "--set", "tree.minimum=3")
    assert "tree.minimum is 3, but only 2 devices are started" in few
    assert "--fogs is -1" in terminal.refused("up", "job.toml", "--quiet", "--fogs", "-1")
    assert "job.toml is a file" in terminal.refused("up", "job.toml", "--quiet", "--folder", "job.toml")
    assert terminal.left() == []


def test_a_clean_stop_logs_no_traceback(tmp_path: Path) -> None:
    """Ctrl-C reaches a node and its workers at the same time, in the middle of a round."""
    terminal = Terminal(tmp_path)
    terminal.ok("cloud", "init")
    cloud = terminal.start("cloud", "run", *LOCAL)
    cloud.until("listens at")
    devices = [joined(terminal, f"client-{i}") for i in range(2)]
    job = submitted(terminal, "--set", "rounds=100000", "--planned", "--set", "task_parameters.slow=0.05")
    watching = terminal.start("jobs", "watch", job)
    watching.until("round 1/100000")
    assert devices[0].interrupt() == 0
    assert cloud.interrupt() == 0
    assert watching.wait() == 1
    assert "The cloud does not answer" in watching.said, watching.said
    assert devices[1].end(signal.SIGTERM) == 0
    assert terminal.left_after(15) == []
    said = {f"program {i}": program.said for i, program in enumerate((cloud, *devices, watching))}
    said |= {str(path): path.read_text() for path in tmp_path.rglob("*.log")}
    assert len(said) >= 7, said
    for name, text in said.items():
        assert "Traceback" not in text, (name, text)
        assert "never retrieved" not in text, (name, text)
        assert " ERROR " not in text, (name, text)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_running(tmp_path: Path, number: int, status: int) -> None:
    terminal = Terminal(tmp_path)
    running = terminal.start("up", "job.toml", "--set", "rounds=100000", "--folder", "nodes")
    running.until("round 1/100000")
    assert len(terminal.left()) >= 7, "a cloud, two fogs, four devices"
    assert running.end(number) == status
    if number == signal.SIGINT:
        assert "every process was stopped" in running.said
        assert terminal.left() == []
    assert terminal.left_after(15) == []
