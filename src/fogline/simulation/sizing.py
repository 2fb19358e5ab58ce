"""How many bytes travel in a run, and what smaller models cost: seen on the first step of a few devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fogline.aggregation import Partial, UnusableUpdateError, Update, is_per_number
from fogline.aggregation.rules import Rule
from fogline.algorithms import group as groups
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.device import run_cohort
from fogline.algorithms.group import BUFFERS, Down
from fogline.compute.folding import finished
from fogline.compute.groups import is_bug
from fogline.compute.messages import Message
from fogline.compute.whole_updates import WholeUpdates
from fogline.jobs import JobError
from fogline.nodes.policies import policy_of
from fogline.params import frozen_of, to_bytes
from fogline.simulation.protecting import first_given
from fogline.simulation.scenario import LinkSizes, Portion, Sizes
from fogline.simulation.setup import Setting
from fogline.training.local import ClientJob
from fogline.training.sub_models import SubModel
from fogline.user_code.bugs import CodeError


def probe(setting: Setting) -> Sizes:
    """Bytes of what travels, seen on one device's first step, as if it had the whole model."""
    task, algorithm, initial = setting.task, setting.algorithm, setting.shared
    update = _first_update(setting, 0, 1.0)
    base = task.shared.bytes
    frozen = frozen_of(setting.initial)
    smaller = _smaller(setting)
    made = _portions(setting, smaller)
    models = ((client, setting.sub_model(client)) for client in range(len(setting.shares)))
    portions = {client: made[model] for client, model in models if model is not None}
    parts = {model.share: portion for model, portion in made.items()} if _cuts(setting) else {}
    once = 0 if frozen is None else len(to_bytes(frozen))
    plain = Sizes(base, base, base, frozen=once, portions=portions, parts=parts)
    if update is None:  # That device fails; the run will say so. Sizes are those of a plain method.
        return _of_plain_method(setting, plain)
    update = first_given(setting.job, algorithm, update)
    _check_weights(setting.rules, update)
    rule = next(iter(setting.rules.values()))
    fold, update.child = rule.fold(), rule.trusted
    # A device that has no say stands for others that have: their updates are as long.
    update.weights |= {name: 1.0 for name, weight in update.weights.items() if not is_per_number(weight) and not weight}
    try:
        fold.add(update)
        for part in filter(None, smaller.values()):  # What is in some of them only has a weight of its own in the sum.
            fold.add(WholeUpdates(task.shared, algorithm.movement).of_update(part))
    except UnusableUpdateError:  # So will it here.
        return _of_plain_method(setting, plain)
    partial = fold.partial()
    plain = replace(plain, update=update.nbytes, partial=partial.nbytes)
    for _ in range(rule.least):
        fold.merge(partial)
    facts = AggregatorContext(len(setting.homes), 0)
    try:
        folded = finished(rule, fold.finish)
        group = groups.move(algorithm, task.shared, groups.root(initial), folded, facts, inside=False)
    except UnusableUpdateError:  # Nothing that a rule can combine, as large as it is.
        return _of_plain_method(setting, plain)
    except CodeError as error:
        if not is_bug(error, rule.least + 1):  # The numbers of this device are to blame.
            return _of_plain_method(setting, plain)
        error.at(f"{setting.job.tree.names[0]}, round 1")
        raise
    down = groups.send_down(algorithm, group)
    plain = replace(plain, down=base + down.extras)
    return replace(plain, staged=_staged(setting, plain, down, update, partial))


def _first_update(setting: Setting, client: int, share: float) -> Update | None:
    """What a device with that share sends after one step; None where it fails."""
    task, algorithm, initial = setting.task, setting.algorithm, setting.shared
    engine = task.build(next(iter(task.engines())), algorithm, setting.local)
    job = ClientJob(client, initial.vector, initial.counters, 1, setting.local.learning_rate, 0, share=share)
    return run_cohort(engine, algorithm, task, [job])[0].update


def _smaller(setting: Setting) -> dict[SubModel, Update | None]:
    """The smaller models of the run, and what the first device that has one sends."""
    found: dict[SubModel, Update | None] = {}
    for client in range(len(setting.shares)):
        model = setting.sub_model(client)
        if model is not None and model not in found:
            found[model] = _first_update(setting, client, setting.share(client))
    if _cuts(setting) and (models := setting.task.sub_models) is not None:
        for model in models.nested():
            if model not in found:
                found[model] = _first_update(setting, 0, model.share)
    return found


def _cuts(setting: Setting) -> bool:
    """Whether devices that are asked for part of a round's work train smaller models."""
    tiers = setting.job.tree.tiers.values()
    return setting.algorithm.effort_cuts and any(policy_of(tier).partial for tier in tiers)


def _portions(setting: Setting, smaller: Mapping[SubModel, Update | None]) -> dict[SubModel, Portion]:
    """What smaller models cost devices."""
    sends, made = setting.stages[-1].sends, dict[SubModel, Portion]()
    for model, update in smaller.items():
        # A device that fails sends nothing; the run will say so.
        up = 0 if update is None else Message.of_update(update).size(sends) if sends else update.nbytes
        made[model] = Portion(model.cost, model.received, up)
    return made


def _of_plain_method(setting: Setting, plain: Sizes) -> Sizes:
    """Sizes where what the method sends cannot be seen: a movement, and buffers."""
    initial, trained = setting.shared, setting.task.shared.trainable
    update = Update({"delta": initial.vector[:trained]}, {"delta": 1.0}, initial.counters)
    if initial.vector.size > trained:
        update.vectors[BUFFERS], update.weights[BUFFERS] = initial.vector[trained:], 1.0
    partial = Partial(dict(update.vectors), update.weights, update.counters, 1)
    down = Down(initial.vector, initial.counters)
    return replace(plain, staged=_staged(setting, plain, down, update, partial))


def _staged(setting: Setting, plain: Sizes, down: Down, update: Update, partial: Partial) -> dict[str, LinkSizes]:
    """Bytes on the links that have stages in one direction at least."""
    staged: dict[str, LinkSizes] = {}
    for depth, tier in enumerate(setting.job.tree.names):
        links, child = setting.stages[depth], partial if setting.stages[depth + 1].merges else update
        if not links.takes and not links.gives:
            continue
        model, delta = Message.of_model(down, setting.task.shared.trainable), links.gives.delta
        staged[tier] = LinkSizes(
            model.size(links.gives) if links.gives and delta is None else plain.down,
            Message.of_update(child).size(links.takes) if links.takes else child.nbytes,
            0 if delta is None else model.size(links.gives),
            1 if delta is None else delta.every,
        )
    return staged


def _check_weights(rules: Mapping[str, Rule], update: Update) -> None:
    each = [name for name, weight in update.weights.items() if is_per_number(weight)]
    for tier, rule in rules.items():
        if each and rule.needs_all:
            raise JobError(
                f"{tier}.rule takes one weight for all of a vector, but the method gives '{each[0]}' a weight for each "
                "number; set the rule to 'mean'"
            )
