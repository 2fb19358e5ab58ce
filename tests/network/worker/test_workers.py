"""Worker processes: kept while they are of use, replaced when they end, and forked where that is possible."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import fogline.network.node.participation.computing
import fogline.network.worker.client
from fogline.cli.commands.up.fork_server import ForkServerProcess
from fogline.compute.effects import CarriedOut, CarryOut, Sift, makes
from fogline.network.node.participation.computing import Computation
from fogline.network.node.participation.driver import Driver
from fogline.network.node.slots import PrioritySemaphore
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import NodeMessage
from fogline.network.worker.client import WorkerClient, WorkerEndedError, WorkerError
from fogline.network.worker.discretion import STEP, TRAINING, UPDATE, without_reason
from fogline.network.worker.forks import VARIABLE
from fogline.network.worker.job_worker import UNASKED, JobWorker
from fogline.network.worker.requests import Describe, Evaluate, Evaluated, Open, RequestFailed, WorkerLimits
from fogline.nodes.device import Device
from fogline.nodes.effects import ChildStep, Count, Examine, ParentStep, Train
from fogline.nodes.events import Received, Started, Trained
from fogline.nodes.messages import Kind, Report, Work
from fogline.params import Entry, Spec
from fogline.retries import Backoff
from fogline.storage import BlobRef, open_blobs, open_database
from tests.network.cluster import cluster, job
from tests.network.processes import wait_for
from tests.patience import PATIENCE

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]
JOB = 'name = "gated"\ntask = "gated:task"\nrounds = 3\n[local]\nlearning_rate = 0.1\nbatch_size = 5\n'
FUTURE = "from __future__ import annotations\n"
HANGS = f"{FUTURE}import pathlib, signal\nif pathlib.Path(__file__).with_name('loading').exists(): signal.pause()\n"
forked = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@dataclass
class Gate:
    """Where a worker waits."""

    listener: socket.socket

    async def arrival(self) -> socket.socket:
        """The next that comes; it goes on when this is closed."""
        async with asyncio.timeout(PATIENCE):
            line, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        return line

    async def let_one_pass(self) -> None:
        """Wait for one, and let it go on."""
        (await self.arrival()).close()


class Place:
    """A job's folder, and a client of its worker."""

    def __init__(self, folder: Path, patience: float = PATIENCE, text: str = JOB, threads: int = 1) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        shutil.copy(HERE / "gated.py", folder)
        self.log = folder / "job.log"
        self.value_store = ValueStore(open_blobs(folder / "blobs"), open_blobs(folder / "small"), folder / "drafts")
        self.worker_client = WorkerClient(
            Open(str(folder), text, client="client-0", job="j-1", limits=WorkerLimits(threads)), self.log, patience
        )

    @contextmanager
    def shut(self, gate: str) -> Generator[Gate]:
        """Who comes to this gate waits, inside."""
        with TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
            listener.setblocking(False)
            listener.bind(f"{short}/gate")
            listener.listen()
            (self.folder / gate).write_text(f"{short}/gate")
            yield Gate(listener)
            (self.folder / gate).unlink()

    async def model(self) -> BlobRef:
        """The first model."""
        group, model = self.value_store.draft(), self.value_store.draft()
        await self.worker_client.ask(Describe(str(group), str(model), "cloud@0"))
        return await self.value_store.take(model, "model")

    def training(self, model: BlobRef, round_: int) -> CarryOut:
        effect = Train(0, "model", "update", round_)
        writes = {key: str(self.value_store.draft()) for key in makes(effect)}
        return CarryOut(effect, {"model": self.value_store.path(model)}, writes, round_)

    def trained(self) -> int:
        return self.log.read_text().count("trained")


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("kind", "query"), [("evaluate", ""), ("query", "label_counts"), ("query", "os:getcwd"), ("measure", "")]
)
def test_a_device_is_not_asked_what_its_job_does_not_ask(kind: Kind, query: str, tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path / "job")
        model = await place.model()
        effect = Examine(0, "model", "update", 0, kind, query)
        asked = CarryOut(effect, {"model": place.value_store.path(model)}, {"update": str(place.value_store.draft())})
        answer = await place.worker_client.ask(asked)
        assert answer == CarriedOut(trained=Trained(0, "update", 0, failure=UNASKED))
        await place.worker_client.close()

    asyncio.run(work())


def test_a_device_whose_task_makes_another_model_is_refused_before_anybody_waits_for_it(tmp_path: Path) -> None:
    shutil.copy(HERE / "gated.py", tmp_path)
    layout = Spec.of([Entry("weight", (3, 7), "float32")]).layout
    worker = JobWorker(Open(str(tmp_path), JOB, layout, client="client-0"))
    with pytest.raises(
        ValueError, match=r"another model here .*'weight' is .* here and float32 \[3, 7\], trained, there"
    ):
        worker.open()


def test_of_a_bug_on_protected_data_only_the_place_is_told() -> None:
    asked = CarryOut(Train(0, "m", "u", 0), {}, {})
    bug = RequestFailed("KeyError: 'patient 17' (ward.py, line 3)", bug=True, line="ward.py, line 3")
    told = without_reason(bug, asked)
    assert isinstance(told, RequestFailed)
    assert (told.bug, "(ward.py, line 3)" in told.why, "patient" in told.why) == (True, True, False)
    trained = CarriedOut(trained=Trained(0, "u", 40, failure="labels run from 0 to 17"))
    assert without_reason(trained, asked) == CarriedOut(trained=Trained(0, "u", 0, failure=TRAINING))
    fine = CarriedOut(("u",), trained=Trained(0, "u", 40))
    assert without_reason(fine, asked) == fine


def test_of_what_a_fog_adds_up_only_the_kind_of_failure_is_told() -> None:
    """Its sum in an exchange above it, and the numbers of its devices, are no more the cloud's than a device's."""
    step = CarryOut(ChildStep("fog", 0, 3, "s", None, "p", "a"), {}, {})
    assert without_reason(CarriedOut(failure="numbers of up to about 3.1"), step) == CarriedOut(failure=STEP)
    refused = CarriedOut(("m",), refused=((1, "With weight 812.0, the weights exceed 800."),))
    assert without_reason(refused, Sift((), {})) == CarriedOut(("m",), refused=((1, UPDATE),))
    missing = CarriedOut(failure="2 devices are left; a sum of fewer than 3 tells too much of each.")
    assert without_reason(missing, CarryOut(ParentStep(0, 0, None, (), (), "a"), {}, {})) == missing


def test_a_request_that_is_given_up_costs_its_answer_and_not_the_worker(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path / "job")
        model, worker_client = await place.model(), place.worker_client
        pid = worker_client.pid
        given_up, dropped = place.training(model, 0), asyncio.Event()
        with place.shut("training") as gate:
            asking = asyncio.create_task(worker_client.ask(given_up, dropped.set))
            waiting = asyncio.create_task(worker_client.ask(place.training(model, 1)))
            wanted = asyncio.create_task(worker_client.ask(place.training(model, 2)))
            first = await gate.arrival()
            asking.cancel()
            waiting.cancel()
            await asyncio.wait((asking, waiting))
            assert not dropped.is_set()
            first.close()
            await gate.let_one_pass()
            assert isinstance(await wanted, CarriedOut)
        assert dropped.is_set()
        assert worker_client.pid == pid
        assert place.trained() == 2, "who gave up before its turn is not served"
        await worker_client.close()

    asyncio.run(work())


def test_a_worker_that_is_loading_is_kept_when_nobody_waits_for_it(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path / "job")
        with place.shut("loading") as gate:
            opening = asyncio.create_task(place.worker_client.open())
            first = await gate.arrival()
            pid = place.worker_client.pid
            opening.cancel()
            await asyncio.wait((opening,))
            again = asyncio.create_task(place.worker_client.open())
            first.close()
            assert (await again).samples == 20
        assert place.worker_client.loaded
        assert place.worker_client.pid == pid
        await place.worker_client.close()

    asyncio.run(work())


def test_loading_has_a_limit_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fogline.network.worker.client, "RELOAD", Backoff(0.0, 0.0))

    async def work() -> None:
        place = Place(tmp_path / "job", patience=0.01)
        reasons: list[str] = []

        def failed(why: str) -> None:
            reasons.append(why)
            place.worker_client._patience = PATIENCE
            (place.folder / "loading").unlink()

        (place.folder / "loading").touch()
        (place.folder / "gated.py").write_text(HANGS + (HERE / "gated.py").read_text().replace(FUTURE, ""))
        assert (await place.worker_client.load(failed)).samples == 20
        (why,) = reasons
        assert "has not loaded the job within 0.01 s" in why
        await place.worker_client.close()

    asyncio.run(work())


def test_a_job_that_cannot_be_loaded_is_no_matter_of_trying(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path / "job", text=JOB.replace("gated:task", "gated:tsk"))
        with pytest.raises(WorkerError, match="did you mean 'task'") as error:
            await place.worker_client.load(pytest.fail)
        assert not isinstance(error.value, WorkerEndedError)
        assert place.worker_client.pid is None

    asyncio.run(work())


def test_who_waits_for_a_worker_that_the_node_ends_is_told_why(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path / "job")
        model = await place.model()
        with place.shut("training") as gate:
            first = asyncio.create_task(place.worker_client.ask(place.training(model, 0)))
            second = asyncio.create_task(place.worker_client.ask(place.training(model, 1)))
            with await gate.arrival():
                await place.worker_client.close("the job is over")
        for asking in (first, second):
            with pytest.raises(WorkerEndedError, match="the worker process was ended: the job is over"):
                await asking
        with pytest.raises(WorkerEndedError, match="the job is over"):
            await place.worker_client.load(pytest.fail)

    asyncio.run(work())


class Ear:
    """The rest of the node."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.counted: asyncio.Queue[str] = asyncio.Queue()

    def send(self, to: str, said: NodeMessage) -> None:
        if isinstance(said.message, Report):
            self.reports.put_nowait(said.message)

    def tell(self, count: Count) -> None:
        self.counted.put_nowait(count.what)

    async def need(self, value: BlobRef) -> None:
        pass

    async def allow(self, effect: Train | Examine, attempt: int) -> str | None:
        return None


@asynccontextmanager
async def device(place: Place, turns: PrioritySemaphore | None = None) -> AsyncGenerator[tuple[Driver, Ear, BlobRef]]:
    """A device that runs."""
    ear, database = Ear(), open_database(place.folder / "records.sqlite")
    computation = Computation(place.value_store, place.worker_client, turns)
    driver = Driver("j-1", Device("client-0", "fog"), database, place.value_store, computation, ear, "fog")
    await driver.recover()
    model = await place.model()
    driver.put(Started())
    running = asyncio.create_task(driver.run())
    yield driver, ear, model
    running.cancel()
    await asyncio.wait((running,))
    await place.worker_client.close()
    database.close()


def test_newer_work_is_done_by_the_same_worker_after_the_older(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path / "job")
        async with device(place) as (driver, ear, model):
            pid = place.worker_client.pid
            with place.shut("training") as gate:
                driver.put(Received("fog", Work(0, "fog@0", 0)), {"fog@0": model})
                first = await gate.arrival()
                for task in (1, 2):
                    driver.put(Received("fog", Work(task, f"fog@{task}", task)), {f"fog@{task}": model})
                async with asyncio.timeout(PATIENCE):
                    for _ in range(2):
                        assert await ear.counted.get() == "superseded"
                    first.close()
                    await gate.let_one_pass()
                    report = await ear.reports.get()
            assert (report.task, report.failure) == (2, None)
            assert place.worker_client.pid == pid
            assert place.trained() == 2
            assert sorted(driver.values) == ["fog#2"], "nothing is left of what was given up"

    asyncio.run(work())


def test_what_was_given_up_before_its_turn_is_not_done(tmp_path: Path) -> None:
    async def work() -> None:
        place, turns = Place(tmp_path / "job"), PrioritySemaphore(1)
        async with device(place, turns) as (driver, ear, model):
            async with turns.turn(0):  # Another job trains.
                for task in (0, 1):
                    driver.put(Received("fog", Work(task, f"fog@{task}", task)), {f"fog@{task}": model})
                assert await asyncio.wait_for(ear.counted.get(), PATIENCE) == "superseded"
            report = await asyncio.wait_for(ear.reports.get(), PATIENCE)
            assert (report.task, report.failure) == (1, None)
            assert place.trained() == 1

    asyncio.run(work())


def test_a_training_that_hangs_after_it_was_given_up_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fogline.network.node.participation.computing, "STUCK", 0.01)

    async def work() -> None:
        place = Place(tmp_path / "job")
        async with device(place) as (driver, ear, model):
            pid = place.worker_client.pid
            with place.shut("training") as gate:
                driver.put(Received("fog", Work(0, "fog@0", 0)), {"fog@0": model})
                with await gate.arrival():
                    driver.put(Received("fog", Work(1, "fog@1", 1)), {"fog@1": model})
                    await gate.let_one_pass()
                async with asyncio.timeout(PATIENCE):
                    report = await ear.reports.get()
            assert (report.task, report.failure) == (1, None)
            assert place.worker_client.pid != pid

    asyncio.run(work())


def test_what_a_worker_prints_bears_date_level_job_and_round(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path / "job")
        model = await place.model()
        await place.worker_client.ask(place.training(model, 4))
        await place.worker_client.close()
        pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO job=j-1 round=5 trained \d+"
        lines = place.log.read_text().splitlines()
        assert any(re.fullmatch(pattern, line) for line in lines), lines
        assert lines[-1].endswith(" WARNING job=j-1 round=5 half a line")

    asyncio.run(work())


# Forked workers.


@asynccontextmanager
async def fork_server(folder: Path, monkeypatch: pytest.MonkeyPatch, *modules: str) -> AsyncGenerator[int]:
    """A fork server; its process."""
    server = ForkServerProcess(folder / "forks.log")
    assert await server.start(["numpy", "fogline.network.worker.program", "no.such.module", *modules]) is None
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    assert server._process is not None
    try:
        yield server._process.pid
    finally:
        await server.stop()
        monkeypatch.delenv(VARIABLE)
    assert server._folder is not None
    assert not server._folder.exists()


@asynccontextmanager
async def forked_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[int, Place, BlobRef]]:
    """A fork server's process, a job whose worker it has forked, and the job's first model."""
    async with fork_server(folder, monkeypatch) as parent:
        place = Place(folder / "job")
        yield parent, place, await place.model()
        await place.worker_client.close()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@forked
def test_a_forked_worker_works_and_shares_nothing_but_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE", "here")

    async def work() -> None:
        async with fork_server(tmp_path, monkeypatch) as parent:
            places = [Place(tmp_path / f"job-{i}") for i in range(2)]
            await asyncio.gather(*(place.worker_client.open() for place in places))
            first, second = (place.worker_client.pid for place in places)
            assert first is not None
            assert parent_of(first) == parent
            model = await places[0].model()
            answer = await places[0].worker_client.ask(places[0].training(model, 0))
            assert isinstance(answer, CarriedOut)
            assert answer.trained is not None
            assert answer.trained.failure is None
            names = {os.readlink(entry) for entry in Path(f"/proc/{first}/fd").iterdir()}
            assert str(places[0].log) in names
            assert sum(name.startswith("socket:") for name in names) == 1, names
            assert not {str(places[1].log), str(tmp_path / "forks.log")} & names
            assert os.getsid(first) == first
            await places[0].worker_client.close()
            model = await places[1].model()
            assert isinstance(await places[1].worker_client.ask(places[1].training(model, 0)), CarriedOut)
            assert places[1].worker_client.pid == second
            await places[1].worker_client.close()

    asyncio.run(work())


@forked
def test_a_forked_worker_that_is_killed_says_so_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with forked_place(tmp_path, monkeypatch) as (parent, place, model):
            assert place.worker_client.pid is not None
            os.kill(place.worker_client.pid, signal.SIGKILL)
            with pytest.raises(WorkerEndedError, match="was ended by SIGKILL"):
                await place.worker_client.ask(place.training(model, 0))
            assert not place.worker_client.loaded
            assert isinstance(await place.worker_client.ask(place.training(model, 0)), CarriedOut)
            assert place.worker_client.pid is not None
            assert parent_of(place.worker_client.pid) == parent

    asyncio.run(work())


@forked
def test_workers_end_with_the_server_and_then_are_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with forked_place(tmp_path, monkeypatch) as (parent, place, model):
            with place.shut("training") as gate:
                asking = asyncio.create_task(place.worker_client.ask(place.training(model, 0)))
                with await gate.arrival():
                    os.kill(parent, signal.SIGKILL)
                    with pytest.raises(WorkerEndedError, match="was ended by SIGKILL"):
                        await asking
            with caplog.at_level(logging.WARNING, "fogline"):
                assert isinstance(await place.worker_client.ask(place.training(model, 0)), CarriedOut)
            assert "is not forked but started anew" in caplog.text
            assert place.worker_client.pid is not None
            assert parent_of(place.worker_client.pid) == os.getpid()

    asyncio.run(work())


@forked
def test_a_forked_worker_uses_as_many_threads_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("threadpoolctl")
    told = (
        "import os, threadpoolctl\n\ndef task():\n"
        "    found = {pool['num_threads'] for pool in threadpoolctl.threadpool_info()}\n"
        "    raise ValueError(f'{found} ' + os.environ['OMP_NUM_THREADS'])\n"
    )

    async def work() -> None:
        async with fork_server(tmp_path, monkeypatch):
            for threads in (2, 1):
                place = Place(tmp_path / f"job-{threads}", threads=threads)
                (place.folder / "gated.py").write_text(told)
                with pytest.raises(WorkerError, match=rf"\{{{threads}\}} {threads}$"):
                    await place.worker_client.open()

    asyncio.run(work())


@forked
def test_a_parent_that_has_threads_forks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")

    async def work() -> None:
        async with fork_server(tmp_path, monkeypatch, "threaded"):
            place = Place(tmp_path / "job")
            assert (await place.worker_client.open()).samples == 20
            await place.worker_client.close()

    with caplog.at_level(logging.WARNING, "fogline"):
        asyncio.run(work())
    assert "a library has started 1 threads in the parent" in caplog.text


@pytest.mark.slow
def test_a_device_whose_worker_dies_says_why_and_is_asked_again_when_another_has_loaded(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            record = await made.submit(job(rounds=8, fogs=0, clients=2, cloud="quorum = 1", task="slow = 0.3"))
            await made.until(record, "round")
            worker_client = made.members["client-1"].node.job_manager.participations[record.job].worker_client
            assert worker_client.pid is not None
            os.kill(worker_client.pid, signal.SIGKILL)
            record = await made.finish(record)
            assert (record.state, record.done) == ("finished", 8)
            said = made.said(record)
            assert any(what == "failed" and who == "client-1" and "SIGKILL" in why for what, who, why in said), said
            assert ("away", "client-1", "its worker process has ended, and loads the job anew") in said

    asyncio.run(work())


@pytest.mark.slow
def test_a_device_that_goes_to_another_fog_takes_its_worker_along(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=2, devices=2) as made:
            record = await made.submit(job(rounds=100_000, fogs=2, clients=2, cloud="quorum = 1", fog="quorum = 1"))
            await made.until(record, "round")
            node = made.members["client-0"].node
            pid = node.job_manager.participations[record.job].worker_client.pid
            assert pid is not None
            await made.stop("fog-0")

            def is_there() -> bool:
                participation = node.job_manager.participations.get(record.job)
                return (
                    participation is not None and participation.parent == "fog-1" and participation.worker_client.loaded
                )

            await wait_for(is_there)
            assert node.job_manager.participations[record.job].worker_client.pid == pid
            await made.client.stop(record.job)
            assert (await made.finish(record)).state == "stopped"

    asyncio.run(work())


def test_a_judgement_is_no_training(tmp_path: Path) -> None:
    """Any request is carried out in turn."""

    async def work() -> None:
        place = Place(tmp_path / "job")
        group, model = place.value_store.draft(), place.value_store.draft()
        await place.worker_client.ask(Describe(str(group), str(model), "cloud@0"))
        assert isinstance(await place.worker_client.ask(Evaluate(str(group))), Evaluated)
        await place.worker_client.close()

    asyncio.run(work())
