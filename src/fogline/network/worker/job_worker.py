"""What a worker process does for one job: it loads the task, and carries out what its node asks."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load as from_bytes

from fogline.aggregation.rules import Rule
from fogline.aggregation.tally import SurveySums
from fogline.algorithms import Algorithm, make
from fogline.algorithms import group as group_models
from fogline.algorithms.device import LocalRound, run_cohort, tried
from fogline.algorithms.group import Down
from fogline.algorithms.private import with_home
from fogline.algorithms.sub_models import measured_names, part_of_effort, sub_model_of, task_of, with_sub_models
from fogline.algorithms.trained import with_trained
from fogline.compute import device
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.column_blocks import suits
from fogline.compute.differences import restore
from fogline.compute.effects import CarriedOut, CarryOut, Sift
from fogline.compute.exchanging import ExchangeOnFiles
from fogline.compute.files import read_group, read_model, write
from fogline.compute.groups import Groups
from fogline.compute.links import NodeLinks, check_links, links_of
from fogline.compute.messages import Message
from fogline.compute.model_parts import model_part
from fogline.compute.policies import check_policies
from fogline.compute.privacy.example_unit import check_examples, protects_examples, sealed
from fogline.compute.privacy.privacy_part import part_of, units_of
from fogline.compute.statistics import check_measuring, with_statistics
from fogline.compute.surveys.layouts import JUDGEMENT, SumsLayout, layout_of
from fogline.compute.surveys.queries import check_query, figures
from fogline.compute.surveys.summing import SumsOnFiles
from fogline.compute.surveys.survey import (
    Examiner,
    changes_outputs,
    judged_key,
    judgement_of,
    model_to_judge,
    row_of,
    task_to_judge,
)
from fogline.exchanges import Exchange
from fogline.governance.policy.machine import local_memory
from fogline.inference.card import PersonalOrigin
from fogline.inference.personal import write_part
from fogline.inference.runtimes.base import ModelError
from fogline.jobs import Job, JobError
from fogline.jobs.exchanging import exchanges_of, survey_exchanges_of
from fogline.jobs.files.reading import parse_job
from fogline.jobs.files.writing import job_to_toml
from fogline.jobs.job import asks
from fogline.jobs.judging import check_honest, check_publishing, no_version, with_judges
from fogline.jobs.loading import load_task
from fogline.jobs.planning import assign, check_rounds, check_task, local_training, planner, with_defaults
from fogline.jobs.protection.budget import Account, within_budget
from fogline.jobs.protection.checks import check_privacy, check_private_model
from fogline.jobs.protection.protection import protection_of
from fogline.jobs.rules import rules_of
from fogline.jobs.starting import first_model
from fogline.jobs.unequal import check_named, check_shares
from fogline.monitoring.history import check_target
from fogline.network.worker.requests import (
    Answer,
    Conclude,
    CutModel,
    Describe,
    Described,
    Evaluate,
    Evaluated,
    JobOpened,
    LayStatistics,
    ModelToJudge,
    ModelWritten,
    Open,
    Packaged,
    PackageModel,
    Request,
    RestoreModel,
    Summarise,
)
from fogline.nodes.effects import ChildStep, Combine, Examine, ParentStep, Train
from fogline.nodes.events import Trained
from fogline.nodes.traits import traits_of
from fogline.params import Params, Spec, check_frozen, frozen_of, load, save, with_frozen, write_arrays
from fogline.params.ranges import ModelRanges
from fogline.training import autotune
from fogline.training.example_privacy import fresh_secret
from fogline.training.figures import metrics_of, sums_on_test
from fogline.training.local import ClientJob
from fogline.training.speed import measured_speed
from fogline.training.sub_models import SubModel
from fogline.training.task import Engine, Task

log = logging.getLogger("fogline.worker")
UNASKED = "it was asked what the job does not ask devices"
UNSERVED = "Devices are judged by other outputs than the model's; nodes answer with the common model's alone."


class JobWorker:
    """One job on one node."""

    def __init__(self, opened: Open) -> None:
        self.opened = opened
        self.asked: Job = parse_job(opened.text)
        self.folder = Path(opened.folder)
        self.start = ""
        """The weights to begin with, at the cloud; empty: the task's untrained ones."""
        self._engine: Engine | None = None
        if opened.folder not in sys.path:
            sys.path.insert(0, opened.folder)  # A method of the developer's own lies beside the task.

    @cached_property
    def algorithm(self) -> Algorithm:
        return make(self.asked.algorithm.name, **self.asked.algorithm.parameters)

    @cached_property
    def job(self) -> Job:
        """The job, with who judges."""
        return with_judges(self.asked, self.algorithm)

    @cached_property
    def task(self) -> Task:
        parameters = {**self.job.task_parameters, **self.opened.parameters}
        task = load_task(self.job.model_copy(update={"task_parameters": parameters}), self.folder)
        task = with_trained(task_to_judge(task, self.job), self.algorithm)
        task = with_home(task, self.algorithm, lambda: self.first)
        return with_sub_models(sealed(task, self.job), self.algorithm)

    @cached_property
    def share(self) -> float:
        """How much of the model this device trains, as the job says of its name, or by its memory and speed."""
        shares, memory = self.job.shares, self.opened.limits.memory or local_memory() or None
        return shares.of(self.name, None if shares.speed is None else measured_speed(), memory)

    @cached_property
    def sub_model(self) -> SubModel | None:
        """The smaller model that this device has; None: it has the whole."""
        return sub_model_of(self.task, self.algorithm, self.share)

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The running statistics that devices measure of a model before it is judged or handed out."""
        return measured_names(self.algorithm, self.task)

    @cached_property
    def first(self) -> Params:
        """The whole model before any training; what is frozen is as all nodes have it.

        Raises:
            JobError: it cannot be read.
            ValueError: what is frozen is another model's, or did not come.
        """
        first = first_model(self.job, self.task, self.start)
        if self.opened.frozen:
            return with_frozen(first, load(Path(self.opened.frozen)))
        if self.opened.client:
            check_frozen(first.spec, None)
        return first

    def engine(self, first: ClientJob) -> Engine:
        """The job's engine, once it has been compared with the reference on this node's own data.

        Raises:
            ValueError: it must not be used for this job, or the method is not what it says; a sentence.
        """
        if self._engine is None:
            local, task, job = local_training(self.job), self.task, first
            if self.sub_model is not None and first.share < 1.0:
                task, (job,) = task_of(self.sub_model), self.sub_model.opened([job], task.home)
            jobs = tried(self.algorithm, task, job)
            engine = self.job.engine or next(iter(self.task.engines()))
            with self.task.one_thread(), self.task.exact_arithmetic():
                autotune(
                    task,
                    self.algorithm,
                    local,
                    jobs,
                    engine=engine,
                    chunk=1,
                    compared=self.job.engine_compared,
                )
            self._engine = self.task.build(engine, self.algorithm, local)
        return self._engine

    @cached_property
    def client(self) -> int:
        """Place of this node's data among the task's clients.

        Raises:
            JobError: the task has no such client.
        """
        clients = list(self.task.data.clients)
        if self.opened.client in clients:
            return clients.index(self.opened.client)
        if len(clients) == 1:
            return 0  # The site's own data, whatever the task calls it.
        raise JobError(
            f"The task's data has no client '{self.opened.client}' ({len(clients)} others); say which one lies here "
            "with --client."
        )

    @cached_property
    def groups(self) -> GroupsOnFiles:
        groups, tier = self._computes(self.opened.depth), self.job.tree.tiers[self.job.tree.names[self.opened.depth]]
        # Noise is for all of a model at once, as the clip is: it is whole in memory then.
        blocks, rates = suits(self.algorithm, self.spec) and not groups.part, tier.quarantine is not None
        return GroupsOnFiles(groups, blocks, self.links, self.opened.node, rates)

    def _computes(self, tier: int) -> Groups:
        part = part_of(protection_of(self.job), self.algorithm.movement, tier)
        links = links_of(self.job, self.algorithm, tier, self.spec)
        own_prefix = self.algorithm.own_prefix if tier == len(self.rules) - 1 else ""  # Only devices are named so.
        return Groups(self.algorithm, self.spec, list(self.rules.values())[tier], part, links, own_prefix)

    @cached_property
    def links(self) -> NodeLinks:
        """The stages of the links around the node."""
        return links_of(self.job, self.algorithm, self.opened.depth, self.spec)

    @cached_property
    def exchanges(self) -> dict[str, Exchange]:
        """What aggregators and their children do before these report, by the tier of the aggregators."""
        return exchanges_of(self.job, self.algorithm)

    @cached_property
    def summed(self) -> dict[str, Exchange]:
        """In what nodes add up what devices are asked beside the training, by the tier of the aggregators."""
        return survey_exchanges_of(self.job, self.exchanges)

    @cached_property
    def in_sums(self) -> SumsLayout | None:
        """How that is laid out there; None where each device tells its own."""
        return layout_of(self.job, self.algorithm, self.task, self.summed)

    def read_sums(self, sums: bytes, query: str = JUDGEMENT) -> SurveySums:
        """What came up as the sums of all devices, by name."""
        tally = SurveySums.from_arrays(from_bytes(sums))
        return tally if self.in_sums is None else self.in_sums.named(query, tally)

    def exchange(self, depth: int, sums: bool) -> ExchangeOnFiles:
        """That of the tier at a depth; ``sums``: of what is asked beside the training.

        Raises:
            JobError: the job has no such thing.
        """
        name = self.job.tree.names[depth]
        if sums and name in self.summed:
            return SumsOnFiles(self.summed[name])
        if sums or name not in self.exchanges:
            raise JobError(f"The job has no exchange in its tier {name}.")
        return ExchangeOnFiles(self.exchanges[name], self._computes(depth))

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """The rule of each tier."""
        return rules_of(self.job, self.algorithm)

    @cached_property
    def spec(self) -> Spec:
        """The layout of what devices and aggregators share."""
        return Spec.read(self.opened.layout) if self.opened.layout else self.task.shared

    def open(self) -> JobOpened:
        """Load what this node needs, so that the first round does not wait for it."""
        if not self.opened.client:
            return JobOpened()
        if self.opened.frozen or self.task.home is not None:
            _ = self.first  # It must fit before anybody waits for this node.
        self.task.shared.check_same(self.spec)
        last = self.job.tree.names[-1]
        steps, summed = (len(by[last].steps) if last in by else 0 for by in (self.exchanges, self.summed))
        if self.opened.client in self.task.data.held_out:
            return JobOpened(trains=False, summed=summed)
        model = self.sub_model
        # What is frozen is laid into whole models only.
        ranges = model.ranges.text if model is not None and model.is_cut and self.task.home is None else ""
        samples, keeps = int(self.task.data.sizes()[self.client]), bool(self.links.restores)
        return JobOpened(samples=samples, steps=steps, summed=summed, ranges=ranges, keeps=keeps)

    def describe(self, request: Describe) -> Described:
        """What nodes must know, the first group, and what is frozen."""
        self.task.check()
        check_rounds(self.algorithm, self.job)
        check_task(self.algorithm, self.task)
        check_privacy(self.job, self.algorithm)
        check_private_model(self.job, self.task.shared)
        check_links(self.job, self.algorithm)
        check_measuring(self.job, self.algorithm, self.task)
        check_shares(self.job, self.algorithm)
        check_named(self.task, self.algorithm, self.job.shares)
        check_policies(self.job, self.algorithm, self.task)
        check_publishing(self.job, self.algorithm)
        check_honest(self.job)
        for query in self.job.queries:
            check_query(query, self.task.data.test)
        _ = self.in_sums  # What cannot be laid out is said before the job runs.
        job = with_defaults(self.job, self.algorithm, self.task)
        check_examples(job, self.algorithm, self.task)
        job = within_budget(None if job.privacy is None else Account(job, self.algorithm.mode), job)
        check_target(job.evaluation.target, self.task.headline)
        parent_addresses, clients = assign(job.tree, self.task.data), tuple(self.task.data.clients)
        plan = {
            leaf: tuple(client for client, above in zip(clients, parent_addresses, strict=True) if above == leaf)
            for leaf in set(parent_addresses)
        }
        self.start = request.start
        self.groups.begin(group_models.root(self._first_shared()), request.group, request.model, request.key)
        frozen = frozen_of(self.first)
        if frozen is not None:
            save(Path(request.frozen), frozen)
        return Described(
            text=job_to_toml(job),
            layout=self.task.shared.layout,
            traits=traits_of(
                self.algorithm, self.rules, exchanges_of(job, self.algorithm), protection_of(job), self.summed
            ),
            headline=self.task.headline,
            higher_is_better=self.task.higher_is_better,
            units=dict(self.task.units),
            clients=clients,
            plan=plan,
            frozen=frozen is not None,
            measures=bool(self.measured),
        )

    def _first_shared(self) -> Params:
        """What devices and aggregators share of the first model.

        Raises:
            JobError: devices would begin with other private entries: they make them themselves, under the job's seed.
        """
        home, first = self.task.home, self.first
        if home is None:
            return first
        part, made = home.part, self.task.initial(self.job.seed) if self.start else first
        floats, counters = part.private_floats, part.private_counters
        if not (
            np.array_equal(floats.cut(made.vector), floats.cut(first.vector))
            and np.array_equal(counters.cut(made.counters), counters.cut(first.counters))
        ):
            raise JobError(
                "start: that model has other private entries than the untrained one, which devices begin with; leave "
                "start out, or let these entries travel"
            )
        return part.cut(first)

    def carry_out(self, asked: CarryOut) -> CarriedOut:
        """What a state machine decided: on this node's data, or with what children sent."""
        if isinstance(asked.effect, ChildStep):
            return self.exchange(self.opened.depth - 1, asked.sums).carry_out(asked)
        if isinstance(asked.effect, ParentStep | Combine):
            return self.exchange(self.opened.depth, asked.sums).carry_out(asked)
        if isinstance(asked.effect, Examine):
            effect = asked.effect
            measures = bool(self.measured) and not self.exchanges
            if not asks(self.job, effect.kind, effect.query, measures):  # Who asks may not keep to the job.
                return CarriedOut(trained=Trained(effect.task, effect.update, 0, failure=UNASKED))
            return device.examine(asked, self.name, self.examiner, self.links, self.write_personal, self.in_sums)
        if not isinstance(asked.effect, Train):
            return self.groups.carry_out(asked)
        part = part_of_effort(self.task, self.algorithm)
        plan = planner(self.job, self.task.data, self.algorithm, lambda _: self.share, part)
        units, node = units_of(protection_of(self.job), self.algorithm.movement), self.opened.node
        return device.carry_out(asked, self.client, plan, self.train, self.links, units, node)

    def train(self, job: ClientJob) -> LocalRound:
        """A device's round, with a secret that no other node can guess."""
        if protects_examples(self.job):
            job = replace(job, secret=fresh_secret())
        return run_cohort(self.engine(job), self.algorithm, self.task, [job])[0]

    def write_personal(self, path: Path, own: Params, common: Params, round_: int) -> bool:
        """Write what of a model is this device's own, as it is served; whether there is anything that can be."""
        if changes_outputs(self.algorithm) or "device" not in self.job.publish.tiers:
            return False  # What it makes of outputs is in no weights; and what nodes do not serve need not be kept.
        origin = PersonalOrigin(self.opened.job, round_ + 1)
        return write_part(path, self.task.served(own)[1], self.task.served(common)[1], origin)

    @property
    def name(self) -> str:
        """Whose examples lie here, by the name of a client of the task's data."""
        held_out = self.opened.client in self.task.data.held_out
        return self.opened.client if held_out else self.task.data.clients[self.client]

    @cached_property
    def examiner(self) -> Examiner:
        return Examiner(self.task, self.algorithm, self.job, self.engine, self.opened.node)

    def model_to_judge(self, request: ModelToJudge) -> ModelWritten:
        """What devices get that are asked beside the training."""
        if not request.group:
            write(request.model, Down(np.zeros(0, np.float32), np.zeros(0, np.int64)))
            return ModelWritten()
        down, stages = model_to_judge(self.algorithm, self.spec, read_group(request.group)), self.links.judges
        if stages:
            message, link = Message.of_model(down, self.spec.trainable), self.links.down(judged_key(request.round))
            write_arrays(Path(request.model), message.encoded(stages, {}, link)[0])
        else:
            write(request.model, down)
        return ModelWritten()

    def summarise(self, request: Summarise) -> Evaluated:
        """What devices found, as a round's row has it; or what they answered to a query."""
        if request.query:
            return Evaluated(figures(request.query, self.read_sums(request.sums, request.query).sums))
        found = judgement_of(self.task, self.read_sums(request.sums))
        return Evaluated(row_of(found, self.job.evaluation))

    def judge(self, request: Evaluate) -> Evaluated:
        """Metrics on the test set, if it lies here and is to judge, and what devices said of themselves."""
        metrics = self.metrics(self.params(request.group)) if request.judges else {}
        return Evaluated(metrics, read_group(request.group).metrics)

    def params(self, group: str) -> Params:
        """The model of a group, as it is judged and handed out: without what each device has of its own."""
        home, shared = self.task.home, group_models.evaluation_model(self.algorithm, self.spec, read_group(group))
        return shared if home is None else home.part.hand_out(shared, home.first)

    def pack(self, request: PackageModel) -> Packaged:
        """A version; where devices have tensors of their own, with those of the first model in their place.

        Raises:
            ModelError, ValueError: it cannot be served.
        """
        from fogline.network.worker.packing import pack

        home, params = self.task.home, self.params(request.group)
        if home is not None and home.part.private:
            shared = group_models.evaluation_model(self.algorithm, self.spec, read_group(request.group))
            params = home.whole(shared, {})
        personal = () if home is None else tuple(sorted(home.part.private))
        notes = (UNSERVED,) if changes_outputs(self.algorithm) else ()
        return pack(self.job, self.task, params, request, personal, notes)

    def metrics(self, params: Params) -> dict[str, float]:
        """Metrics on the test set; none where there is none here, or where devices alone judge."""
        test = self.task.data.test
        return (
            {}
            if test is None or not self.job.evaluation.at_cloud
            else metrics_of(self.task, sums_on_test(self.task, params, test))
        )

    def answer(self, request: Request) -> Answer:
        """Carry a request out."""
        match request:
            case CarryOut():
                return self.carry_out(request)
            case Sift(combine=combine, sums=sums) if combine is not None:
                return self.exchange(self.opened.depth, sums).left_out(request, combine)
            case Sift():
                return self.groups.sift(request)
            case CutModel(model=model, part=part, ranges=ranges):
                write(part, model_part(read_model(model), self.spec, ModelRanges(ranges)))
                return ModelWritten()
            case RestoreModel(held=held, differences=differences, model=model):
                restore(held, differences, model, self.spec.trainable, self.links.restores)
                return ModelWritten()
            case Evaluate():
                return self.judge(request)
            case ModelToJudge():
                return self.model_to_judge(request)
            case LayStatistics():
                sums = SurveySums.from_arrays(from_bytes(request.sums)).sums
                write(request.laid, with_statistics(self.spec, self.measured, read_group(request.group), sums))
                return ModelWritten()
            case Summarise():
                return self.summarise(request)
            case Conclude():
                from fogline.network.worker.concluding import conclude  # Only the cloud's worker writes results.

                params = self.params(request.group)
                sums = self.read_sums(request.sums) if request.sums else None
                return conclude(request, self.job, self.task, params, self.metrics(params), sums)
            case Describe():
                return self.describe(request)
            case PackageModel():
                if (why := no_version(self.job, self.algorithm)) is not None:
                    raise ModelError(f"{why}.")
                return self.pack(request)
            case Open():
                raise ValueError("The job is loaded already.")
