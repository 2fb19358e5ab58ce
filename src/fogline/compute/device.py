"""A device's round: from the model that came down to a job for an engine, and to the update that goes up."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec

from fogline.aggregation.tally import SurveySums
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import Down
from fogline.compute.effects import PERSONAL, STATE, CarriedOut, CarryOut
from fogline.compute.files import read_model, read_state, write, write_state
from fogline.compute.links import NodeLinks
from fogline.compute.messages import NONE
from fogline.compute.privacy.contributions import ContributionError, Contributions
from fogline.compute.privacy.privacy_part import Draw, drawn_key
from fogline.compute.reports import write_report
from fogline.compute.surveys.layouts import SumsLayout, UnsummedError
from fogline.compute.surveys.survey import Examiner, Question, UnansweredError
from fogline.jobs.planning import LocalPlan, Planner
from fogline.nodes.effects import Examine, Train
from fogline.nodes.events import Trained
from fogline.nodes.messages import SUMMED
from fogline.params import Params, State
from fogline.training.local import ClientJob

WritePersonal = Callable[[Path, Params, Params, int], bool]
"""Writes to a path what of a model, beside the common one, is the device's own after a round; whether anything is."""


def client_job(client: int, down: Down, plan: LocalPlan, local: State, node: str = "") -> ClientJob:
    """A device's round as an engine takes it.

    Args:
        client: whose data it trains on.
        down: what came from the parent.
        plan: how much it trains, and from which seeds.
        local: the vectors that the method keeps on the device.
        node: what its parent calls it, where that is not what the data calls it.
    """
    return ClientJob(
        client,
        down.vector,
        down.counters,
        plan.steps,
        plan.learning_rate,
        plan.seed,
        local,
        down.received,
        plan.round,
        plan.common_seed,
        plan.batch_size,
        share=plan.share,
        node=node,
    )


def carry_out(
    asked: CarryOut,
    client: int,
    plan: Planner,
    run: Callable[[ClientJob], LocalRound],
    links: NodeLinks,
    units: Contributions | None = None,
    node: str = "",
) -> CarriedOut:
    """Train from the model that a file holds, and write the update and what method and stages keep.

    Args:
        asked: a ``Train``, and the files of its values.
        client: whose data it trains on.
        plan: how much devices train.
        run: trains one device.
        links: the stages around it.
        units: what it gives where it is one unit of the job's differential privacy; None: it reports as it is.
        node: the device's name.

    Raises:
        CodeError: a hook of the method, or the code of the task, is wrong.
        ValueError: the model is not what it should be.
    """
    effect = asked.effect
    if not isinstance(effect, Train):
        raise ValueError(f"A device carries out no {type(effect).__name__}.")
    down = read_model(asked.reads[effect.model], stages=links.gets)
    work = plan(client, effect.round, asked.earlier, effect.effort)
    local = read_state(asked.reads.get(STATE))
    done = given(run(client_job(client, down, work, local, node)), units, down, drawn_key)
    if done.update is None:
        return CarriedOut(trained=Trained(effect.task, effect.update, done.samples, failure=done.failure))
    made = write_report(
        asked, effect.update, done.update, links.sends, links.from_device(work.seed, work.round), links.decodes
    )
    if done.local:
        write_state(asked.writes[STATE], done.local)
        made = (*made, STATE)
    loss = done.loss_rms if math.isfinite(done.loss_rms) else None
    return CarriedOut(made, trained=Trained(effect.task, effect.update, done.samples, loss))


def given(done: LocalRound, units: Contributions | None, down: Down, draw: Draw) -> LocalRound:
    """A device's round with what it gives in place of its update, where it is one unit: neither how many examples it
    has nor its loss is told then.

    Args:
        done: as it trained.
        units: makes what units give; None: it reports as it is.
        down: what came from the parent.
        draw: makes the key of noise that it adds itself.
    """
    if units is None:
        return done
    if done.update is None:
        return msgspec.structs.replace(done, samples=0)
    try:
        update = units.of(done.update, down.clip, draw())
    except ContributionError as error:
        return msgspec.structs.replace(done, update=None, samples=0, failure=str(error))
    return msgspec.structs.replace(done, update=update, samples=0, loss=math.nan, loss_rms=math.nan)


def examine(
    asked: CarryOut,
    client: str,
    examiner: Examiner,
    links: NodeLinks,
    write_personal: WritePersonal | None = None,
    in_sums: SumsLayout | None = None,
) -> CarriedOut:
    """Judge the model that a file holds, or answer a query, and write the sums.

    Args:
        asked: an ``Examine``, and the files of its values.
        client: whose examples it has.
        examiner: answers for devices.
        links: the stages around it.
        write_personal: writes what the device has of its own of the model that it judged, where its node wants that.
        in_sums: how what it finds or answers goes into the sum of all; None: it tells it by itself.

    Raises:
        CodeError: the code of the task, the method or the query is wrong.
        ValueError: the model is not what it should be.
    """
    effect = asked.effect
    if not isinstance(effect, Examine):
        raise ValueError(f"A device is not asked {type(effect).__name__}.")
    stages = NONE if effect.kind == "query" else links.judges  # With a query goes an empty model.
    down, local = read_model(asked.reads[effect.model], stages=stages), read_state(asked.reads.get(STATE))
    question, made = Question(effect.kind, effect.round, effect.query), [effect.update]

    def keep(own: Params, common: Params) -> None:
        if write_personal is not None and PERSONAL in asked.writes:
            made.extend([PERSONAL] if write_personal(Path(asked.writes[PERSONAL]), own, common, effect.round) else [])

    try:
        sums = examiner.answer(question, client, down, local, keep)
        summed = in_sums if effect.kind in SUMMED else None
        answer = SurveySums.of(sums) if summed is None else summed.update_of(effect.query, sums)
    except (UnansweredError, UnsummedError) as error:
        return CarriedOut(trained=Trained(effect.task, effect.update, 0, failure=str(error)))
    write(asked.writes[effect.update], answer)
    return CarriedOut(tuple(made), trained=Trained(effect.task, effect.update, 0))
