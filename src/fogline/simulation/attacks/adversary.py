"""The malicious nodes of a run: who they are, what they train on, and what they send.

What an attack makes of a round is computed when the round may close: then all that the honest send is known. A
malicious node sends what it likes, so what its parent gets is forged as it comes out of the stages of the link: a clip
there is a promise of the sender.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from fogline.aggregation import Partial, Update, Weight, is_per_number
from fogline.aggregation.rows import UpdateRows
from fogline.aggregation.rules import Rule
from fogline.algorithms.base import METRIC
from fogline.algorithms.hooks import BUFFERS
from fogline.data import Examples
from fogline.jobs import Job, JobError
from fogline.jobs.privacy import DEVICES
from fogline.nodes.messages import Key
from fogline.params import State, Vector
from fogline.simulation.attacks import ATTACKS, Attack, RoundView
from fogline.training.task import Task
from fogline.user_code.bugs import CodeError, attempt, blame, line_of_definition

DRAW, POISON = 0xAD, 0xBD
"""Set apart the random numbers that say who is malicious and what is changed in data."""


class Sent(NamedTuple):
    """What a child reports."""

    child: str
    key: Key
    value: Update | Partial | None


class Adversary:
    """Who attacks a run, and how.

    Args:
        attack: what they do.
        nodes: who they are.
        seed: of the job.
    """

    def __init__(self, attack: Attack, nodes: Sequence[str], seed: int) -> None:
        self.attack = attack
        self.nodes = tuple(nodes)
        self._malicious = frozenset(nodes)
        self._seed = seed

    def lies(self, child: str) -> bool:
        """Whether what a child sends is forged."""
        return self.attack.forges and child in self._malicious

    def poisoned(self, task: Task) -> Task:
        """The task, with the data of malicious devices as the attack wants it."""
        if not self.attack.poisons:
            return task
        data, classes = task.data, _classes_of(task)
        places = {index: client for index, client in enumerate(data.clients) if client in self._malicious}

        def changed(examples: Examples, index: int) -> Examples:
            rng = np.random.default_rng((self._seed, POISON, index))
            made = attempt(lambda: self.attack.poison(examples, classes, rng))
            if isinstance(made, Exception):
                raise self._blamed(made)
            return _checked(self.attack, made, examples)

        return task.on(data.with_examples_changed(changed, list(places)))

    def triggered(self, task: Task) -> Examples | None:
        """Of the test set, what shows whether the attack succeeds; None if there is nothing of the kind."""
        test = task.data.test
        if test is None or type(self.attack).triggered is Attack.triggered:
            return None
        return self.attack.triggered(test, _classes_of(task))

    def check(self, task: Task) -> None:
        """Refuse what the attack cannot change, before anything runs.

        Raises:
            JobError: one sentence.
        """
        if self.attack.poisons and task.trains_itself:
            raise JobError(
                f"{type(self.attack).__name__} changes devices' examples, and those of task '{task.name}' are seen by "
                "nobody but devices; take an attack that changes what they send"
            )
        if self.attack.poisons:
            poisoned = self.poisoned(task).data
            poisoned.at(poisoned.clients.index(self.nodes[0]))
        tried = attempt(lambda: self.triggered(task))
        if isinstance(tried, Exception):
            raise self._blamed(tried)

    def forge(self, rule: Rule, sent: Sequence[Sent], new: frozenset[Key], last: State) -> dict[Key, Update | Partial]:
        """What malicious children send in place of their reports.

        Args:
            rule: of the aggregator that gets them.
            sent: all reports that wait there.
            new: keys of those that have to be forged.
            last: what the rule made of the round before, by name, where it remembers that.
        """
        there = {one.key: _opened(one.value, rule) for one in sent if one.value is not None}
        children = {one.key: one.child for one in sent}
        liars = [key for key in there if key in new]
        known = [key for key in there if children[key] not in self._malicious] or liars
        forged = {key: dict(there[key].vectors) for key in liars}
        for name in dict.fromkeys(name for key in liars for name in there[key].vectors):
            if name != BUFFERS and not name.startswith(METRIC):  # What does not move the model stays as it is.
                seen = {key: there[key] for key in known}
                self._forge_name(name, rule, last.get(name), seen, children, forged)
        values = {one.key: one.value for one in sent}
        return {key: _closed(values[key], there[key], vectors, rule) for key, vectors in forged.items()}

    def _forge_name(
        self,
        name: str,
        rule: Rule,
        last: Vector | None,
        known: Mapping[Key, Update],
        children: Mapping[Key, str],
        forged: Mapping[Key, dict[str, Vector]],
    ) -> None:
        """Put what is sent under a name in place of what is there."""
        liars = [key for key, vectors in forged.items() if name in vectors]
        size = forged[liars[0]][name].size
        keys = [key for key, one in known.items() if name in one.vectors and one.vectors[name].size == size] or liars
        rows = [(known[key].vectors[name] if key in known else forged[key][name], 1.0) for key in keys]
        honest = UpdateRows(rows, np.ones(len(rows)), [children[key] for key in keys], size)
        view = RoundView(honest, len(liars), rule, last if last is not None and last.shape == (size,) else None)
        for key in liars:
            rng = np.random.default_rng((self._seed, crc32(key.encode()), crc32(name.encode())))
            forged[key][name] = self._forged(forged[key][name], view, rng)

    def _forged(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        with np.errstate(over="ignore"):
            made = attempt(lambda: self.attack.forge(own, view, rng))
        if isinstance(made, Exception):
            raise self._blamed(made)
        if not isinstance(made, np.ndarray) or made.shape != own.shape or made.dtype.kind != "f":  # pyright: ignore[reportUnnecessaryIsInstance]
            raise CodeError(
                f"the attack {type(self.attack).__name__} gives something else than {own.size} floating-point numbers",
                line_of_definition(self.attack.forge),
            )
        return made

    def _blamed(self, error: Exception) -> Exception:
        name = type(self.attack).__name__
        return JobError(f"attack: {error}") if isinstance(error, ValueError) else blame(f"the attack {name}", error)


def adversary_of(job: Job, clients: Sequence[str], rules: Mapping[str, Rule], task: Task) -> Adversary | None:
    """Who attacks a job's run; None where nobody does.

    Args:
        job: says how.
        clients: the devices that train.
        rules: of its tiers.
        task: what is learned.

    Raises:
        JobError: there is no such attack, or it cannot be made there; one sentence.
    """
    wanted = job.attack
    if wanted is None:
        return None
    made = attempt(lambda: ATTACKS.read(wanted.name))
    if isinstance(made, Exception):
        raise JobError(f"attack.name: {str(made).rstrip('.')}") from made
    if job.evaluation.baselines:
        raise JobError(
            "evaluation.baselines are trained on the data of all devices, and some of them are malicious; leave "
            "baselines or the attack out"
        )
    nodes = _nodes_at(job, clients)
    if wanted.at != DEVICES and made.poisons:
        raise JobError(
            f"attack.at is '{wanted.at}', and {wanted.name} changes data, which only devices have; set it to "
            f"'{DEVICES}'"
        )
    names = job.tree.names
    above = names[-1] if wanted.at == DEVICES else names[names.index(wanted.at) - 1]
    if job.tree.tiers[above].exchange and made.forges:
        raise JobError(
            f"{wanted.name} changes what {'devices send' if wanted.at == DEVICES else f'a {wanted.at} sends'} by what "
            f"others send, and in an exchange nobody sees that; leave {above}.exchange out, or take an attack on data, "
            "such as label_flip"
        )
    trusted = {rule.trusted for rule in rules.values()}
    adversary = Adversary(made, _drawn(job, [node for node in nodes if node not in trusted]), job.seed)
    adversary.check(task)
    return adversary


def _nodes_at(job: Job, clients: Sequence[str]) -> list[str]:
    at = job.attack.at if job.attack is not None else DEVICES
    if at == DEVICES:
        return list(clients)
    names = job.tree.names
    if at not in names[1:]:
        *below, last = (f"'{name}'" for name in (*names[1:], DEVICES))
        right = f"{', '.join(below)} or {last}" if below else last
        raise JobError(f"attack.at is '{at}', where nobody can be malicious; it must be {right}")
    return job.tree.nodes(at)


def _drawn(job: Job, nodes: Sequence[str]) -> list[str]:
    """Who is malicious, in the order of the nodes."""
    wanted = job.attack
    assert wanted is not None
    if wanted.who:
        unknown = [name for name in wanted.who if name not in nodes]
        if unknown:
            raise JobError(f"attack.who names '{unknown[0]}', which cannot be malicious; '{nodes[0]}' could be")
        return [node for node in nodes if node in wanted.who]
    share = wanted.malicious
    count = share if isinstance(share, int) else max(1, round(share * len(nodes)))
    if count >= len(nodes):
        raise JobError(f"attack.malicious is {share}, which leaves nobody honest of {len(nodes)}; make it less")
    chosen = np.random.default_rng((job.seed, DRAW)).choice(len(nodes), count, replace=False)
    return [node for place, node in enumerate(nodes) if place in chosen]


def _classes_of(task: Task) -> int:
    if task.data.classes is None:
        raise JobError("attack: that attack is on classes, and the task has none; take one on what devices send")
    return task.data.classes


def _checked(attack: Attack, made: object, examples: Examples) -> Examples:
    if not isinstance(made, Examples) or made.count != examples.count:
        raise CodeError(
            f"the attack {type(attack).__name__} gives something else than {examples.count} examples",
            line_of_definition(attack.poison),
        )
    return made


def _opened(value: Update | Partial, rule: Rule) -> Update:
    """A report as an update: of a sum the mean, as heavy as all of it."""
    if isinstance(value, Update):
        return value
    fold = rule.fold()
    fold.merge(value)
    folded = fold.finish()
    heavy: dict[str, Weight] = {
        name: weight for name, weight in folded.weights.items() if is_per_number(weight) or weight > 0.0
    }
    return Update({name: folded.mean(name) for name in heavy}, heavy, value.counters, value.count)


def _closed(value: Update | Partial | None, opened: Update, vectors: dict[str, Vector], rule: Rule) -> Update | Partial:
    """What was forged, in the form of the report that it replaces; nobody has looked at its numbers yet."""
    update = Update(vectors, opened.weights, opened.counters, opened.count)
    if isinstance(value, Update):
        return update
    fold = rule.fold()
    fold.add(update)
    return fold.partial()
