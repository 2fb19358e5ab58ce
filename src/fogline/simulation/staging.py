"""Takes what nodes send each other through the stages of their links: both halves at once, and every sender's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fogline.aggregation import Partial, Update
from fogline.algorithms.group import Down
from fogline.compute.differences import next_model
from fogline.compute.links import NodeLinks
from fogline.compute.messages import model_through, update_through
from fogline.compute.surveys.survey import judged_key
from fogline.jobs.planning import LocalPlan
from fogline.params import State
from fogline.stages import LinkContext, Pipeline


class Staging:
    """The links of a run that have stages.

    Args:
        aggregators: the stages around each aggregator, by its name.
        devices: those around devices.
        trained: numbers of the model that are no buffers.
    """

    def __init__(self, aggregators: Mapping[str, NodeLinks], devices: NodeLinks, trained: int) -> None:
        self._aggregators = aggregators
        self._devices = devices
        self._trained = trained
        self._places = {name: -1 - place for place, name in enumerate(aggregators)}
        self.states: dict[int, State] = {}
        """What senders keep: devices by client, aggregators by numbers below zero."""

    @property
    def of_devices(self) -> bool:
        """Whether what devices send goes through stages."""
        return bool(self._devices.sends)

    def sends(self, node: str) -> bool:
        """Whether what an aggregator sends its parent goes through stages."""
        return bool(self._aggregators[node].sends)

    def gives(self, node: str) -> bool:
        """Whether the models that an aggregator sends down go through stages."""
        return bool(self._aggregators[node].gives)

    def from_device(self, client: int, update: Update, plan: LocalPlan) -> Update:
        """What the parent has of a device's update. ``plan``: of the round that made it."""
        sent = self._sent(client, update, self._devices.sends, self._devices.from_device(plan.seed, plan.round))
        assert isinstance(sent, Update)
        return sent

    def from_aggregator(self, node: str, round_: int, value: Update | Partial | None) -> Update | Partial | None:
        """What the parent has of an aggregator's report in a round; None where there was nothing to fold."""
        if value is None:
            return None
        links = self._aggregators[node]
        return self._sent(self._places[node], value, links.sends, links.from_aggregator(node, round_))

    def model(self, node: str, key: str, down: Down) -> Down:
        """What children have of an aggregator's model."""
        links = self._aggregators[node]
        return model_through(down, self._trained, links.gives, links.down(key))

    def differs(self, node: str) -> bool:
        """Whether the models that an aggregator sends down are told as differences to what its children hold."""
        return self._aggregators[node].gives.delta is not None

    def next_model(self, node: str, key: str, down: Down, held: Down | None) -> Down:
        """What children have of an aggregator's model, who had that one before."""
        links = self._aggregators[node]
        return next_model(down, held, key, self._trained, links.gives, links.down(key))[0]

    def judged(self, round_: int, down: Down) -> Down:
        """What devices have of a model that they are to judge after a round."""
        links = self._devices
        if not links.judges:
            return down
        return model_through(down, self._trained, links.judges, links.down(judged_key(round_)))

    def _sent(self, place: int, value: Update | Partial, stages: Pipeline, link: LinkContext) -> Update | Partial:
        sent, state = update_through(value, stages, self.states.get(place, {}), link)
        if state:
            self.states[place] = state
        return sent


def staging_of(links: Sequence[NodeLinks], tiers: Mapping[str, int], trained: int) -> Staging | None:
    """What takes messages through stages; None where no link has any.

    Args:
        links: around the nodes of each depth, the root first, devices last.
        tiers: depth of every aggregator, by its name.
        trained: numbers of the model that are no buffers.
    """
    if not any(around.sends or around.gives for around in links):
        return None
    return Staging({name: links[depth] for name, depth in tiers.items()}, links[-1], trained)
