"""How the nodes of a simulated tree stand, for who looks on while it runs."""

from __future__ import annotations

from fogline.compute.round_state import round_state
from fogline.jobs.tree import Tree
from fogline.monitoring.run_files import RunFiles
from fogline.monitoring.tree_state import (
    STATE_OF,
    TRAINING,
    WAITING,
    SnapshotWriter,
    TreeNode,
    TreeNodes,
    TreeSnapshot,
    write_nodes,
)
from fogline.simulation.simulator import Simulator
from fogline.simulation.values import Training

NAMED = 3
"""Children that are named, of those that a round waits for."""


class TreeWatch:
    """Writes a run's ``nodes.json`` and, over and over, its ``tree.json``.

    A device trains from when its training begins on the virtual clock until it is computed: that is what takes time
    here. What is told of each device is one byte that is set.

    Args:
        folder: of the run.
        tree: of the job.
        simulator: what is watched.
        clients: names of the devices.
        homes: name of each device's aggregator.
    """

    def __init__(
        self, folder: RunFiles, tree: Tree, simulator: Simulator, clients: list[str], homes: list[str]
    ) -> None:
        tiers = {node: tier for tier in tree.names for node in tree.nodes(tier)}
        nodes = tuple(TreeNode(name, parent or "", tiers[name]) for name, parent in tree.parents().items())
        places = {node.name: i for i, node in enumerate(nodes)}
        self._names = [node.name for node in nodes]
        self._writer = SnapshotWriter(folder.tree)
        self._simulator = simulator
        self._round = 0
        self._index = {name: i for i, name in enumerate(clients)}
        self._states = bytearray(WAITING.encode() * len(clients))
        self._letters = {what: ord(state) for what, state in STATE_OF.items()}
        self._training, self._waiting = ord(TRAINING), ord(WAITING)
        write_nodes(folder.nodes, TreeNodes(nodes, tuple(clients), tuple(places[home] for home in homes)))
        self.write()

    def began(self, client: int) -> None:
        """A device begins to train."""
        self._states[client] = self._training

    def trained(self, training: Training) -> None:
        """A device's training was computed."""
        states, client = self._states, training.client
        if training.failure is not None:
            states[client] = self._letters["failed"]
        elif states[client] == self._training:  # Else it was late, or left, before it was computed.
            states[client] = self._waiting
        if self._writer.is_due:
            self.write()

    def counted(self, what: str, who: str) -> None:
        """Something befell a node."""
        client, letter = self._index.get(who), self._letters.get(what)
        if client is not None and letter is not None:
            self._states[client] = letter

    def moved(self, round_index: int) -> None:
        """A round of the root is over."""
        self._round = round_index + 1
        if self._writer.is_due:
            self.write()

    def end(self) -> None:
        """The run is over: nobody trains any more, not even whose update was surplus."""
        self._states = self._states.replace(bytes([self._training]), bytes([self._waiting]))
        self.write()

    def write(self) -> None:
        """Write how all stand now."""
        simulator = self._simulator
        traffic = simulator.traffic
        self._writer.write(
            TreeSnapshot(
                round=self._round,
                rounds=tuple(round_state(simulator.ledger_of(name), NAMED) for name in self._names),
                states=self._states.decode("ascii"),
                down=dict(traffic.down),
                up=dict(traffic.up),
                seconds=simulator.now,
            )
        )
