"""``kill -9`` of a device, its fog and the cloud, one after the other in one job, for each family of methods that keeps
something on devices or trains smaller models: nothing of it is another than without kills, and none of it leaves.

All jobs run on one fleet, whose workers are forked from a parent that has imported PyTorch. What they learn there
differs in the last bit from what this process learns (which is so without a kill), so of PyTorch's models a rounding is
forgiven; a state that is lost is far away from that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from fogline.jobs.files.reading import parse_job
from fogline.monitoring.folder import RunFolder
from fogline.network.cloud.records import Record
from fogline.params import Vector, load_arrays
from fogline.params import load as load_model
from fogline.simulation import checkpoint
from fogline.simulation.run import run
from fogline.training.task import Task
from tests import warm
from tests.network.cluster import NEVER, job, within
from tests.network.processes import Fleet, fleet
from tests.network.small import adapted, headed, layered, task
from tests.network.test_surveys import found

pytestmark = pytest.mark.slow
ROUNDS, DEVICES = 4, ("client-0", "client-1")
DEATHS = {
    "client-0": (2, True, ["Posted"]),
    "fog": (2, False, ["Closed"]),
    "cloud": (3, True, ["Closed"]),
}
"""Who dies at which commit."""
SHARES = '\n[shares.devices]\n"client-0" = 0.3\n"*" = 1.0\n'
HALF = SHARES.replace("0.3", "0.5")


@dataclass(frozen=True)
class Family:
    """A method, and what of a device's state must not leave it."""

    method: str
    task: str = "split"
    private: tuple[str, ...] = ()
    more: str = ""
    parameters: str = ""
    leaves: bool = False
    """Whether the method is one that sends a device's model up, to nobody but the root."""

    @property
    def text(self) -> str:
        named = f'algorithm = {{ name = "{self.method}", parameters = {{ {self.parameters} }} }}'
        described = job(
            rounds=ROUNDS, fogs=1, clients=2, cloud="quorum = 1.0", fog="quorum = 1.0\ncohort = 2",
            publish="" if self.method in ("fedper", "fedamp") else NEVER,
            more=f"exact = true\n{named}", task="" if self.torch else "split = true",
        )  # fmt: skip
        text = described.replace("small:task", f"small:{self.task}") if self.torch else described
        return text + self.more + (f"\n[evaluation]\nevery = {ROUNDS}\n" if self.private else "")

    @property
    def torch(self) -> bool:
        return self.task != "split"

    def same(self, one: Vector, other: Vector) -> bool:
        close: bool = np.allclose(one, other, rtol=1e-4, atol=1e-6) if self.torch else np.array_equal(one, other)
        return close

    def task_of(self) -> Task:
        made = {"split": partial(task, split=True), "layered": layered, "headed": headed, "adapted": adapted}
        return made[self.task](2)


HOME, OWN = ("home/floats",), ("model",)
FAMILIES = [
    Family("fedper", private=HOME),
    Family("ditto", private=OWN),
    Family("pfedme", private=OWN),
    Family("apfl", private=OWN),
    Family("fedamp", private=OWN, leaves=True),
    Family("fedala", "layered", (*OWN, "mix")),
    Family("knnper", "layered"),
    Family("heterofl", "layered", more=SHARES),
    Family("fjord", "layered", more=SHARES),
    Family("depthfl", "headed", more=HALF),
    Family("partial_layers", "layered", more=SHARES),
    Family("hetlora", "adapted", more=SHARES),
    Family("hetlora_pruned", "adapted", ("rank",), SHARES, "decay = 0.75, penalty = 1.0"),
    Family("flora", "adapted", more=SHARES),
]


@pytest.fixture(scope="module", autouse=True)
def forked_workers() -> Iterator[None]:
    with warm.workers("fogline.training.torch"):
        yield


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, forked_workers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with within(runner, fleet(tmp_path_factory.mktemp("fleet"))) as up:
        yield up


@dataclass
class Tap:
    """What devices said, and what they kept, each time they trained."""

    folder: Path
    of: dict[str, Path] = field(default_factory=dict)

    def on(self, device: str) -> dict[str, str]:
        self.of[device] = self.folder / device
        return {"tap": str(self.of[device])}

    def sent(self, device: str) -> bytes:
        return (self.of[device] / "sent").read_bytes()

    def states(self, device: str) -> list[dict[str, Vector]]:
        return [load(path.read_bytes()) for path in sorted(self.of[device].glob("state-*"))]


async def killed_in_turn(made: Fleet, text: str, tap: Tap) -> Path:
    """A job during which each of :data:`DEATHS` dies and comes back; the run's folder."""
    for name in (*DEATHS, "client-1"):
        made.kill(name)
        made.start(name, **({"commit": DEATHS[name]} if name in DEATHS else {}), **_tapped(tap, name))
    record = await made.submit(text)
    ended = asyncio.create_task(made.finish(record))
    dying = {asyncio.create_task(made.died(name)): name for name in DEATHS}
    while dying and not ended.done():  # Who dies first is not always the same.
        await asyncio.wait((ended, *dying), return_when=asyncio.FIRST_COMPLETED)
        for death in [one for one in dying if one.done()]:
            name = dying.pop(death)
            made.start(name, **_tapped(tap, name))
    for death in dying:
        death.cancel()
    record = await ended
    assert (record.state, record.why, record.done) == ("finished", "", ROUNDS)
    return made.folder / "cloud" / "runs" / record.job


def _tapped(tap: Tap, name: str) -> dict[str, str]:
    return tap.on(name) if name in DEVICES else {}


def passes(vector: Vector, sent: bytes) -> bool:
    """Whether two neighbouring numbers of a vector were said that are not both zero or one."""
    pairs = [vector[i : i + 2] for i in range(len(vector) - 1)]
    return any(pair.tobytes() in sent for pair in pairs if not np.isin(pair, (0, 1)).any())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.method)
def test_nothing_of_a_method_is_lost_or_leaves(
    family: Family, runner: asyncio.Runner, made: Fleet, tmp_path: Path
) -> None:
    tap = Tap(tmp_path)
    left = runner.run(killed_in_turn(made, family.text, tap))
    described = parse_job(family.text).model_copy(update={"engine": "loop", "processes": 0})
    folder = RunFolder.create(tmp_path / "run", described)
    expected = run(described, family.task_of(), folder, progress=False)
    assert family.same(load_model(left / "model.safetensors").vector, expected.params.vector)
    assert found(RunFolder(left).history())[-1] == pytest.approx(found(expected.history)[-1], rel=1e-4)
    last = checkpoint.latest(folder.checkpoints)
    assert last is not None
    kept = load_arrays(last / checkpoint.NUMBERS)
    for i, device in enumerate(DEVICES if family.private else ()):
        states = tap.states(device)
        assert len(states) >= ROUNDS
        for name, vector in states[-1].items():
            assert family.same(vector, kept[f"local/{i}/{name}"])
        for name in family.private:
            told = {passes(state[name], tap.sent(device)) for state in states[1:] if name in state}
            assert told == {family.leaves}  # Of the first round's, what begins at zero is its own movement.


def test_two_jobs_at_once_keep_their_states_apart_while_the_nodes_die(
    runner: asyncio.Runner, made: Fleet, tmp_path: Path
) -> None:
    """Both keep something on the same devices, of the same task, and one keeps what each client brought last."""
    texts = [
        Family("ditto", private=OWN).text.replace("rounds = 4", "rounds = 8"),
        Family("fedper", private=HOME).text,
        job(
            rounds=8, fogs=1, clients=2, cloud="quorum = 1.0", fog="quorum = 1.0\ncohort = 2", task="split = true",
            more='algorithm = "scaffold"\nexact = true',
        ),
    ]  # fmt: skip

    async def work() -> list[Record]:
        records = [await made.submit(text) for text in texts]
        for name in ("client-0", "fog", "cloud", "client-1"):
            await made.rounds(records[0], 1 + ("client-0", "fog", "cloud", "client-1").index(name))
            made.kill(name)
            made.start(name)
        return [await made.finish(record) for record in records]

    for record, text in zip(runner.run(work()), texts, strict=True):
        assert (record.state, record.why) == ("finished", "")
        described = parse_job(text).model_copy(update={"engine": "loop", "processes": 0})
        expected = run(described, task(2, split=True), progress=False)
        left = made.folder / "cloud" / "runs" / record.job
        assert np.array_equal(load_model(left / "model.safetensors").vector, expected.params.vector)
        assert RunFolder(left).history()[-1]["round"] == described.rounds
