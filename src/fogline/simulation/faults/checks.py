"""What must hold whatever happens, and the deliveries that show it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from fogline.aggregation import Arrays
from fogline.nodes import Aggregator, AggregatorRole, records
from fogline.nodes.messages import Key

Contributions = tuple[tuple[str, int], ...]
"""A value, as far as it matters here: which trainings (device, number) are in it, and how often."""


class InvariantError(AssertionError):
    """Something happened that must not. ``kind`` is one of hang, lost, twice, missing, forged, few, failed, raw."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class DeliveryLog:
    """What was reported, acknowledged and refused in a run; and since when rounds and requests are open."""

    def __init__(self, roles: Mapping[str, AggregatorRole], patience: Mapping[str, float]) -> None:
        self._roles = roles
        self._patience = patience
        self._reported: dict[tuple[str, int], Contributions] = {}
        self._acknowledged: set[tuple[str, int]] = set()
        self._dropped: set[tuple[str, int]] = set()
        self._sent: dict[tuple[str, Key], Arrays] = {}
        self._entered: dict[str, tuple[int, Contributions]] = {}
        """What aggregators have brought into an exchange that goes on."""
        self._silent: set[tuple[str, int]] = set()
        self._rounds: dict[tuple[str, int], float] = {}
        self._requests: dict[str, float] = {}
        self._asked: dict[tuple[str, int], records.Asked] = {}
        """What was asked last in each open lane,"""
        self._waiting: dict[tuple[str, int], dict[int, str]] = {}
        """whom that lane has asked since its round began, by request,"""
        self._came: dict[tuple[str, int], dict[int, str]] = {}
        """and who of them has reported."""

    def reports(self, parent: str, task: int, value: Contributions) -> None:
        """A child sends its update for a parent's request; the same one every time."""
        before = self._reported.setdefault((parent, task), value)
        if before != value:
            raise InvariantError("forged", f"the report for request {task} of {parent} changed after it was first sent")

    def sends(self, node: str, key: Key, arrays: Arrays) -> None:
        """A node sends what it has made in a step of an exchange; the same one every time, also after a crash: who had
        two of a step could be given both kinds of shares."""
        if self._sent.setdefault((node, key), arrays) is not arrays:
            raise InvariantError("forged", f"{node} sends another {key} than before")

    def acknowledges(self, parent: str, task: int) -> None:
        """A parent says that an update will count."""
        if (parent, task) not in self._reported:
            raise InvariantError("forged", f"{parent} acknowledged request {task}, for which nothing was reported")
        self._acknowledged.add((parent, task))

    def refuses(self, node: Aggregator, task: int, why: str) -> None:
        """A parent says that an update will not count."""
        tier, ledger = node.role.tier, node.ledger
        allowed = {
            "late": tier.late == "drop" or ledger.ended,
            "surplus": tier.over_selects and (tier.late == "drop" or ledger.ended),
            "stale": True,
            "failed": True,
        }
        if not allowed.get(why, False):
            raise InvariantError("lost", f"{node.name} refused an update as {why}, which its job does not allow")
        if why != "failed":
            self._dropped.update(self._reported.get((node.name, task), ()))

    def repeats_refusal(self, node: Aggregator, task: int) -> None:
        """A parent refuses a report whose request is not open any more: it refused it before, or the request was
        given up as too old, which it counts."""
        new = set(self._reported.get((node.name, task), ())) - self._dropped
        if new and not node.ledger.dropped["unanswered"] + node.ledger.dropped["failed"]:
            raise InvariantError("lost", f"{node.name} refused the answer to request {task} without counting it")
        self._dropped |= new

    def watch(self, node: str, record: records.Record, lanes_open: Iterable[int], now: float) -> None:
        """A record was written: rounds and requests begin and end in time."""
        role = self._roles[node]
        self._count(node, record)
        self._settle_entered(node, role, record)
        match record:
            case records.Asked(lane=lane):
                self._rounds.setdefault((node, lane), now)
            case records.Closed(lane=lane):
                begun = self._rounds.pop((node, lane), now)
                if now > begun + role.deadline + 1e-6:
                    raise InvariantError("hang", f"a round of {node} took {now - begun:.1f} s of {role.deadline:.1f} s")
            case records.Assigned():
                self.restart(node)
                self._requests[node] = now
                self._rounds |= {(node, lane): now for lane in lanes_open}
            case records.Posted() | records.Entered() | records.JobOver():
                begun = self._requests.get(node, now)
                self.restart(node)
                if now > begun + self._patience[node]:
                    raise InvariantError("hang", f"{node} took {now - begun:.1f} s of {self._patience[node]:.1f} s")
            case _:
                pass

    def spoils(self, node: str, record: records.Spoiled) -> None:
        """Updates that had been accepted turn out to be none."""
        for task in record.tasks:
            self._dropped.update(self._reported.get((node, task), ()))

    def enters(self, node: str, task: int, value: Contributions) -> None:
        """An aggregator brings that into an exchange with its parent: it reports it, or it is dropped."""
        self._entered[node] = task, value

    def _settle_entered(self, node: str, role: AggregatorRole, record: records.Record) -> None:
        task, value = self._entered.get(node, (-1, ()))
        match record:
            case records.Posted(report=report) if report.task == task:
                del self._entered[node]
                if report.update is None:
                    self._dropped.update(value)
            case records.Confirmed(task=answered) if answered == task:
                del self._entered[node]
                self._dropped.update(value)
            case records.Confirmed(task=answered, accepted=False) if role.demands:
                self._dropped.update(self._reported.get((role.parent or "", answered), ()))
            case records.Assigned() | records.JobOver():
                self._entered.pop(node, None)
                self._dropped.update(value)
            case _:
                pass

    def silent(self, value: Contributions) -> None:
        """An exchange came to a sum in which these are, though their last reports have not come, and are refused."""
        self._silent.update(value)

    def moves(self, node: str, value: Contributions) -> None:
        """A model moves by updates."""
        devices, minimum = len({device for device, _ in value}), self._roles[node].minimum
        if value and devices < minimum:
            raise InvariantError("few", f"a round of {node} moved with {devices} devices; the minimum is {minimum}")
        if self._roles[node].traits.private and devices < len(value):
            raise InvariantError("twice", f"a sum of {node} has a device more than once, and noise is for once")

    def _count(self, node: str, record: records.Record) -> None:
        """A round that counts has its quorum, of children that have reported in it."""
        match record:
            case records.Asked(lane=lane, first=first, children=children):
                self._asked[node, lane] = record
                self._waiting.setdefault((node, lane), {}).update(enumerate(children, first))
            case records.Accepted(task=task):
                for lane, waiting in self._waiting.items():
                    if lane[0] == node and task in waiting:
                        self._came.setdefault(lane, {})[task] = waiting.pop(task)
            case records.Spoiled(lane=lane, tasks=tasks):
                for task in tasks:
                    self._came.get((node, lane), {}).pop(task, None)
            case records.Closed(lane=lane):
                came, asked = self._came.pop((node, lane), {}), self._asked.get((node, lane))
                if record.keep_since == math.inf:
                    self._waiting.pop((node, lane), None)
                few = asked is not None and len(came) < max(asked.quorum, self._roles[node].tier.fewest)
                if record.met and few and self._roles[node].mode != "ring":
                    raise InvariantError(
                        "few", f"a round of {node} counted with the reports of {sorted(came.values())}"
                    )
            case records.Assigned(keep_since=math.inf):
                for kept in (self._waiting, self._came):
                    for key in [key for key in kept if key[0] == node]:
                        del kept[key]
            case _:
                pass

    def restart(self, node: str) -> None:
        """A node crashed or has something new to do: what it waits for begins anew."""
        for key in [key for key in self._rounds if key[0] == node]:
            del self._rounds[key]
        self._requests.pop(node, None)

    def resume(self, node: Aggregator, now: float) -> None:
        """A node is back from a crash."""
        self._rounds |= {(node.name, lane.index): now for lane in node.ledger.lanes if lane.open}
        if node.ledger.working:
            self._requests[node.name] = now

    def close(self, nodes: Mapping[str, Aggregator], stores: Mapping[str, Mapping[Key, Contributions]]) -> None:
        """At the end: nothing counts twice, nothing that was acknowledged is lost."""
        root = next(iter(nodes))
        model = value_of(stores[root], root, nodes[root].ledger.model)
        places = Counter(dict.fromkeys(model, 1))
        for contribution, times in Counter(model).items():
            if contribution[0] == "forger":
                raise InvariantError("forged", "the model holds an update that an impostor sent")
            if times > 1:
                raise InvariantError("twice", f"{contribution} is {times} times in the model")
        for name, node in nodes.items():
            for contribution in _held(node, nodes, stores[name]):
                places[contribution] += 1
                if places[contribution] > 1:
                    raise InvariantError("twice", f"{contribution} waits at {name} and counts elsewhere already")
        for contribution in model:
            if contribution in self._dropped - self._silent:
                raise InvariantError("twice", f"{contribution} was refused and counts")
        for parent, task in sorted(self._acknowledged):
            for contribution in self._reported[parent, task]:
                if contribution not in places and contribution not in self._dropped:
                    raise InvariantError(
                        "lost", f"{parent} acknowledged {contribution} (request {task}); it is nowhere"
                    )


def _held(node: Aggregator, nodes: Mapping[str, Aggregator], store: Mapping[Key, Contributions]) -> Contributions:
    """Contributions that wait at a node, or in a report of it that the parent has neither taken nor refused."""
    ledger = node.ledger
    keys = [one.update for lane in ledger.lanes for one in lane.pending] + [one.update for one in ledger.used]
    for task in ledger.outbox.reports:
        assert node.role.parent is not None
        parent = nodes[node.role.parent].ledger
        if not parent.accepted(task) and task in parent.asks:
            keys += ledger.outbox.inside.get(task, ())
    return tuple(contribution for key in keys for contribution in value_of(store, node.name, key))


def value_of(store: Mapping[Key, Contributions], node: str, key: Key) -> Contributions:
    """The value behind a key, which must be there."""
    if key not in store:
        raise InvariantError("missing", f"{node} needs {key}, which it does not have")
    return store[key]
