"""``fogline up``: start the nodes, run the job, show it, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from fogline.cli.bundling import bundle_of_job
from fogline.cli.commands.simulation import check_rounds, print_result
from fogline.cli.commands.up.children import ChildProcess, Children
from fogline.cli.commands.up.display import Display
from fogline.cli.commands.up.fork_server import ForkServerProcess
from fogline.cli.commands.up.plan import PlannedNode, StartPlan, UpOptions, job_of, plan, root_of
from fogline.cli.commands.up.tree import TreeState
from fogline.cli.failures import Interrupted, JobFailedError, UsageError
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Role
from fogline.inference.card import Card
from fogline.jobs import Job
from fogline.jobs.job import model_name
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result, Row
from fogline.network.cloud.client import Client, connect
from fogline.network.cloud.cloud import create
from fogline.network.cloud.folder import OPERATOR, SIGNING
from fogline.network.cloud.records import Record
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.process import NodeFolder
from fogline.network.node.status import StatusChange
from fogline.network.transport.messages import ParentAddress
from fogline.registry.rollout_events import plan_of

HERE = "127.0.0.1:0"
LISTENING = ("--listen", HERE, "--door", HERE)
TOKEN_LIFE = 600.0

__all__ = ["UpOptions", "run_up"]


def run_up(file: Path, options: UpOptions) -> None:
    """Run a job on processes of this machine, and print the result.

    Raises:
        JobError: the job is wrong.
        UsageError: the options make no sense.
        JobFailedError: it failed.
        Interrupted: Ctrl-C.
        RoundsLostError: fewer rounds counted than were asked for.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    job = job_of(file, options)
    with ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="fogline-up-"))
            if not options.keep:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
        elif folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; name another folder, or leave --folder out")
        elif folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; name another folder, or leave --folder out")
        run = Run(file, job, options, folder.resolve())
        try:
            result = asyncio.run(run.all())
        except JobFailedError as error:
            stack.pop_all()  # The nodes' logs may say more.
            raise JobFailedError(f"{error} (the nodes' folders, with their logs, are in {folder})") from None
        except (KeyboardInterrupt, asyncio.CancelledError):
            done = len(run.rows)
            raise Interrupted(f"Interrupted after {done} of {job.rounds} rounds; every process was stopped.") from None
        if options.keep:
            print(f"The nodes' folders are in {folder}.")
    print_result(result, next_steps(result.folder, run.repeats, options.board))
    for line in run.served:
        print(line)
    check_rounds(result)


def next_steps(folder: Path | None, repeated: bool, board: bool) -> list[tuple[str, str]]:
    """What to try next, beside what every run proposes: (why, command). The page has ended with the processes."""
    same = ("The same in virtual time", f"fogline simulate {folder}/job.toml --engine loop")
    seen = ("Look at it again", f"fogline board {folder}")
    return [step for step, wanted in ((same, repeated), (seen, board)) if wanted]


def repeats(made: StartPlan, result: Result, state: TreeState) -> bool:
    """Whether the run is that of a simulation: every client had its device, nothing went wrong or was in vain, no round
    went by the clock, which is another there, and no noise is in it, which comes from no seed here."""
    noisy = made.job.privacy is not None
    return made.planned and not made.by_the_clock and not result.counts and not state.lost and not noisy


class Run:
    """One run.

    Args:
        file: of the job.
        job: as the options make it, but for the number of clients.
        options: what was asked for.
        folder: for the nodes.
    """

    def __init__(self, file: Path, job: Job, options: UpOptions, folder: Path) -> None:
        self.file, self.job, self.options, self.folder = file, job, options, folder
        self.rows: list[Row] = []
        self.served: list[str] = []
        """What the devices showed in the end; it is printed below the result."""
        self.unpublished = ""
        """Why the last job's model did not become a version."""
        self.repeats = False
        """Whether a simulation of the job gives the same."""
        self.state = TreeState(root_of(job), job.tree)
        self.display = Display(self.state, options.quiet)
        self.forks = ForkServerProcess(folder / "forks.log")
        self.children = Children(self._tell, self.forks.environment)
        self.failed: asyncio.Future[None] | None = None
        """Set when the cloud is gone."""

    async def all(self) -> Result:
        """From the first process to the last."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        self.failed = loop.create_future()
        with self.display:
            try:
                made, ready = await self._begin()
                async with self._client(ready) as client, self._board(ready):
                    await self._start_members(client, made, ready)
                    record = await self._run_job(client, made)
                    result = self._result(record, made)
                    self.repeats = record.state == "finished" and repeats(made, result, self.state)
                    if self.options.serve:
                        await self._serve(client, made)
            finally:
                await self.children.stop()
                await self.forks.stop()
        return result

    async def _begin(self) -> tuple[StartPlan, StatusChange]:
        """Look at the task while the cloud starts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            async with asyncio.TaskGroup() as both:
                planning = both.create_task(plan(self.file, self.job, self.options, self.folder / "task.json"))
                starting = both.create_task(self._start_cloud())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        unshared = await self.forks.start(planning.result().modules)
        if unshared is not None:
            self.display.note(f"Every worker takes memory of its own: {unshared}")
        return planning.result(), starting.result()

    async def _start_cloud(self) -> StatusChange:
        cloud = self.folder / self.state.root
        await asyncio.to_thread(create, cloud, self.state.root)
        child = await self.children.start(self.state.root, ("cloud", "run", "--folder", str(cloud), *LISTENING), cloud)
        return await child.ready

    @asynccontextmanager
    async def _client(self, ready: StatusChange) -> AsyncGenerator[Client]:
        identity = self.folder / self.state.root / OPERATOR / "identity"
        async with connect(identity, self.state.root, ready.who) as client:
            yield client

    @asynccontextmanager
    async def _board(self, ready: StatusChange) -> AsyncGenerator[None]:
        """The page that shows it, where it is wanted."""
        if not self.options.board:
            yield
            return
        from fogline.cli.commands.board import board_of_cloud  # A web server, which nobody waits for who has no use.
        from fogline.dashboard.server import served

        async with served(board_of_cloud(self.folder / self.state.root)) as serving:
            self.display.note(f"Look at it: {serving.address}")
            yield

    async def _start_members(self, client: Client, made: StartPlan, ready: StatusChange) -> None:
        """Fogs, each once its parent is ready, then devices."""
        for note in made.notes:
            self.display.note(note)
        self.state.add(made.nodes)
        door = ParentAddress(made.root, ready.why)
        addresses = {made.root: ready.who}
        tokens: dict[Role, str] = {}
        roles: set[Role] = {node.role for node in made.nodes}
        for role in roles:
            uses = sum(node.role == role for node in made.nodes)
            tokens[role] = await client.token(NewToken(role, uses=uses, ttl=TOKEN_LIFE))
        for node in made.nodes:
            parent = ParentAddress(node.parent, addresses[node.parent])
            child = await self._start(node, tokens[node.role], door, parent)
            if node.role == "fog":
                addresses[node.name] = (await child.ready).who

    async def _start(self, node: PlannedNode, token: str, door: ParentAddress, parent: ParentAddress) -> ChildProcess:
        from fogline.network.node.membership import Membership

        place = NodeFolder(self.folder / node.name)
        issued = await join(door, token, node.name, node.role, place.identity)
        Membership.of(node.name, node.role, issued).write(place.folder)
        shutil.copyfile(self.folder / self.state.root / "policy.toml", place.policy)
        above = ("--folder", str(place.folder), "--parent", f"{parent.name}@{parent.address}")
        more = LISTENING if node.role == "fog" else ("--client", node.client)
        if self.options.serve and node.role in self.job.publish.tiers:
            more = (*more, "--serve", "--http", HERE, "--grpc", "none")
        return await self.children.start(node.name, (node.role, "run", *above, *more), place.folder)

    async def _serve(self, client: Client, made: StartPlan) -> None:
        """Show that devices answer, and go on while the next round is rolled out.

        Raises:
            JobFailedError: they do not.
        """
        from fogline.cli.commands.up.serving import Sample, show

        devices = [node.name for node in made.nodes if node.role == "device"]
        self._check_published()
        card = await self._newest(client, made.job)
        assert card.golden is not None
        golden = NodeFolder(self.folder / self.state.root).open_models().path(card.golden.digest)

        async def next_round() -> int:
            further = {"rounds": 1, "start": f"{card.model}@{card.version}", "name": f"{made.job.name}-next"}
            publish = made.job.publish.model_copy(update={"model": card.model})
            job = made.job.model_copy(update={**further, "publish": publish})
            record = await self._run_job(client, replace(made, job=job))
            if record.state != "finished":
                raise JobFailedError(f"The next round failed: {record.why}")
            self._check_published()
            return (await self._newest(client, job)).version

        way = plan_of(made.job.publish)
        rollout = len(way.rings) * (way.ring_seconds + way.probation.longest)
        sample, say, note = Sample.of(card, golden), self.served.append, self.display.note
        await show(self.state.serving, devices, sample, next_round, rollout, say, note)

    def _check_published(self) -> None:
        if self.unpublished:
            raise JobFailedError(f"The model is not published, so there is nothing to serve. {self.unpublished}")

    async def _newest(self, client: Client, job: Job) -> Card:
        (model_report,) = await client.models(model_name(job))
        return model_report.cards[0]

    async def _run_job(self, client: Client, made: StartPlan) -> Record:
        key = SigningKey.load(self.folder / self.state.root / OPERATOR / SIGNING)
        text, bundle, _ = bundle_of_job(made.job, self.file.parent, (), key)
        wait = 120.0 + 10.0 * len(made.nodes)
        record = await client.submit(text, bundle, planned=made.planned, wait=wait)
        operator = self.folder / self.state.root / OPERATOR
        self.display.note(f"Job {record.job}; from another terminal: fogline jobs watch --cloud {operator}")
        assert self.failed is not None
        following = asyncio.create_task(self._follow(client, made, record))
        await asyncio.wait((following, self.failed), return_when=asyncio.FIRST_COMPLETED)
        if self.failed.done():
            following.cancel()
            self.failed.result()
        return await following

    async def _follow(self, client: Client, made: StartPlan, record: Record) -> Record:
        self.unpublished = ""
        async for line in client.watch(record.job):
            if line.row is not None:
                row = {**line.row, **self.state.traffic()}
                self.rows.append(row)
                self.display.round(row)
            elif line.what == "not published":
                self.unpublished = line.why
                self.display.note(line.text)
            elif line.what == "began":
                (record,) = await client.jobs(record.job)
                self.display.began(made, record.headline, record.units.get(record.headline, ""))
            elif line.why and line.what not in ("failed", "away"):
                self.display.note(line.text)
        (record,) = await client.jobs(record.job)
        return record

    def _tell(self, name: str, change: StatusChange) -> None:
        if self.state.tell(name, change):
            self.display.changed(name, change)
        if change.what == "failed" and name == self.state.root and self.failed is not None and not self.failed.done():
            self.failed.set_exception(ConnectionError(f"The cloud's process ended: {change.why}"))
            self.failed.exception()  # Seen here, whether or not anybody waits for it.

    def _result(self, record: Record, made: StartPlan) -> Result:
        """The run's result, in a folder of its own beside those of simulations.

        Raises:
            JobFailedError: there is none.
        """
        if record.state == "failed":
            raise JobFailedError(f"The job failed after {record.done} of {record.rounds} rounds: {record.why}")
        if not self.rows:
            raise JobFailedError("The job was stopped before its first round was over, so there is no result.")
        kept = RunFolder.keep(self.folder / self.state.root / "runs" / record.job, made.job.name, self.file.parent)
        kept.truncate(0)
        for row in self.rows:
            kept.append(row)
        kept.close()
        return kept.load()
