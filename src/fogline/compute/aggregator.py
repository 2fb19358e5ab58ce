"""What an aggregator's state machine decided, carried out from files to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from fogline.aggregation import Arrays, Folded, Partial, UnusableUpdateError, Update
from fogline.aggregation.tally import SurveySums, added
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.group import Down, GroupModel
from fogline.compute.column_blocks import Piece, PieceWriter, pieces
from fogline.compute.differences import next_model
from fogline.compute.effects import GROUP, CarriedOut, CarryOut, Sift
from fogline.compute.files import read_group, read_model, read_tally, read_update, write
from fogline.compute.groups import Groups, is_bug
from fogline.compute.links import UNSTAGED, NodeLinks
from fogline.compute.members import RoundMembers
from fogline.compute.messages import Message
from fogline.compute.reports import write_report
from fogline.nodes.effects import AddUp, Adopt, FoldInput, GroupUpdate, Merge, Move
from fogline.nodes.messages import Key
from fogline.nodes.versions import DIFFERENCE
from fogline.params import write_arrays
from fogline.user_code.bugs import CodeError


class GroupsOnFiles:
    """Carries out an aggregator's effects. Where the model is worked on in blocks, memory does not grow with it.

    Args:
        groups: what effects compute.
        blocks: whether the model is worked on in blocks. (What goes through stages is whole in memory meanwhile.)
        links: the stages around the node.
        node: its name.
        rates: whether its moves say how much the rule has used of each child's update.
    """

    def __init__(
        self, groups: Groups, blocks: bool, links: NodeLinks = UNSTAGED, node: str = "", rates: bool = False
    ) -> None:
        self._groups = groups
        self._rates = rates
        self._links = links
        self._node = node
        self._pieces = [(piece, groups.of(piece.spec)) for piece in pieces(groups.spec, blocks)]

    def begin(self, group: GroupModel, group_path: str, model_path: str, key: Key) -> None:
        """Write the first group, and what its children get; ``key``: of the model."""
        group = self._groups.begun(group)
        write(group_path, group)
        write(model_path, self._groups.send_down(group))
        if not self._links.gives.delta:
            self._stage_model(model_path, key)

    def carry_out(self, asked: CarryOut) -> CarriedOut:
        """Read what an effect names, and write what it makes.

        Raises:
            CodeError: a hook of the method is wrong.
            ValueError: a value from above is not what it should be.
        """
        match asked.effect:
            case Adopt():
                return self._adopt(asked, asked.effect)
            case Move():
                return self._move(asked, asked.effect)
            case Merge():
                return self._merge(asked, asked.effect)
            case AddUp():
                return self._add_up(asked, asked.effect)
            case GroupUpdate():
                return self._group_update(asked, asked.effect)
            case _:
                raise ValueError(f"An aggregator carries out no {type(asked.effect).__name__}.")

    def sift(self, asked: Sift) -> CarriedOut:
        """Which updates would be refused. Mostly one look at each tells that none would."""
        if asked.sums:
            return CarriedOut(refused=tuple(_tallies(asked.members, asked.reads)[1].items()))
        members = RoundMembers(self._groups, asked.members, asked.reads, self._links.takes)

        def fold() -> None:
            for piece, _ in self._pieces:
                members.fold(piece, True)

        if not members.surely_fit(piece for piece, _ in self._pieces):
            members.work(fold)
        return CarriedOut(refused=tuple(members.refused.items()))

    def _adopt(self, asked: CarryOut, effect: Adopt) -> CarriedOut:
        base, source = None if effect.base is None else asked.reads[effect.base + GROUP], asked.reads[effect.source]
        whole = read_model(source, stages=self._links.gets) if self._links.gets else None

        def received(piece: Piece) -> Down:
            return read_model(source, piece.read) if whole is None else Down.from_arrays(piece.cut(whole.to_arrays()))

        def adopted(piece: Piece, groups: Groups) -> GroupModel:
            before = None if base is None else read_group(base, piece.read)
            return groups.adopt(before, received(piece))

        return CarriedOut(self._put(asked, effect, adopted))

    def _move(self, asked: CarryOut, effect: Move) -> CarriedOut:
        base = asked.reads[effect.base + GROUP]
        members = RoundMembers(
            self._groups,
            effect.members,
            asked.reads,
            self._links.takes,
            self._rates,
            lambda read: read_group(base, read).rule,
        )
        # Who has reported may be away by now: it is one of the devices below all the same.
        population = max(asked.population, effect.devices)
        context = AggregatorContext(population, asked.earlier, effect.lane, effect.lanes, effect.round)

        def moved(piece: Piece, groups: Groups) -> GroupModel:
            group, folded = read_group(base, piece.read), members.fold(piece, groups.noises)
            try:
                return groups.move(group, folded, context, effect.inside)
            except (ValueError, CodeError) as error:
                if isinstance(error, CodeError) and is_bug(error, members.count):
                    raise
                raise _UnusableRoundError(str(error)) from error

        scores: tuple[tuple[int, float], ...] = ()
        try:
            made = members.work(lambda: self._put(asked, effect, moved))
            refused, scores = members.refused, members.scores
        except _UnusableRoundError as error:  # Whoever sent them, the job outlives them.
            made = self._put(asked, effect, lambda piece, _: read_group(base, piece.read))
            refused = dict.fromkeys(range(len(effect.members)), f"the round's updates cannot be used: {error}")
        except CodeError as error:
            error.at(f"{self._node}, round {effect.round + 1}")
            raise
        return CarriedOut(made, tuple(refused.items()), scores=scores)

    def _merge(self, asked: CarryOut, effect: Merge) -> CarriedOut:
        members = RoundMembers(self._groups, effect.members, asked.reads, self._links.takes)

        def merged(piece: Piece, _: Groups) -> Folded | Partial:
            partial = members.fold(piece, True)
            if partial is None:
                raise _NothingError
            return partial

        try:
            coded = members.coded_sum()
            if coded is None:
                members.work(lambda: self._write({asked.writes[effect.update]: _arrays}, merged))
                made = self._report(asked, effect)
            else:
                made = self._send(asked, effect, coded)
        except _NothingError:
            made = ()
        return CarriedOut(made, tuple(members.refused.items()))

    def _add_up(self, asked: CarryOut, effect: AddUp) -> CarriedOut:
        tallies, refused = _tallies(effect.members, asked.reads)
        write(asked.writes[effect.update], added(tallies, effect.part))
        return CarriedOut((effect.update,), tuple(refused.items()))

    def _group_update(self, asked: CarryOut, effect: GroupUpdate) -> CarriedOut:
        base = asked.reads[effect.base + GROUP]
        self._write(
            {asked.writes[effect.update]: _arrays},
            lambda piece, groups: groups.group_update(read_group(base, piece.read)),
        )
        return CarriedOut(self._report(asked, effect))

    def _report(self, asked: CarryOut, effect: Merge | GroupUpdate) -> tuple[Key, ...]:
        """Take what was written for the parent through the stages of the uplink; the keys of what there is now."""
        if not self._links.sends:
            return (effect.update,)
        value = read_update(asked.writes[effect.update])
        Path(asked.writes[effect.update]).unlink()  # It is read from memory that outlives its name.
        return self._send(asked, effect, value)

    def _send(self, asked: CarryOut, effect: Merge | GroupUpdate, value: Update | Partial) -> tuple[Key, ...]:
        """Write a value as it goes to the parent; the keys of what was written."""
        link = self._links.from_aggregator(self._node, effect.round)
        return write_report(asked, effect.update, value, self._links.sends, link, self._links.decodes)

    def _stage_model(self, path: str, key: Key) -> None:
        """Take a model that was written for children through the stages of the downlink."""
        if self._links.gives:
            message = Message.of_model(read_model(path), self._groups.spec.trainable)
            Path(path).unlink()
            write_arrays(Path(path), message.encoded(self._links.gives, {}, self._links.down(key))[0])

    def _put(
        self, asked: CarryOut, effect: Adopt | Move, work: Callable[[Piece, Groups], GroupModel]
    ) -> tuple[Key, ...]:
        """Write a group, and what its children get; the keys of what there is now."""
        model = effect.model

        def sent(group: GroupModel) -> Arrays:
            return self._groups.send_down(group).to_arrays()

        self._write({asked.writes[model + GROUP]: _arrays, asked.writes[model]: sent}, work)
        made = (model + GROUP, model)
        if not self._links.gives.delta:
            self._stage_model(asked.writes[model], model)
        elif self._make_difference(asked, effect):
            made = (*made, model + DIFFERENCE)
        return made

    def _make_difference(self, asked: CarryOut, effect: Adopt | Move) -> bool:
        """Write what children have of a model in its place, and the difference that leads there, if there is one."""
        key, path = effect.model, asked.writes[effect.model]
        held = None if effect.base is None else read_model(asked.reads[effect.base])
        trained, links = self._groups.spec.trainable, self._links
        down, difference = next_model(read_model(path), held, key, trained, links.gives, links.down(key))
        if difference is None:
            return False
        Path(path).unlink()  # It is read from memory that outlives its name.
        write(path, down)
        write_arrays(Path(asked.writes[key + DIFFERENCE]), difference)
        return True

    def _write(self, forms: dict[str, Callable[[Any], Arrays]], work: Callable[[Piece, Groups], Any]) -> None:
        """Work every piece once, and write what it gives into files, each in its own form."""
        with ExitStack() as open_files:
            writers = {path: open_files.enter_context(closing(PieceWriter(Path(path)))) for path in forms}
            for piece, groups in self._pieces:
                made = work(piece, groups)
                for path, form in forms.items():
                    writers[path].write(piece, form(made))


def _tallies(members: Sequence[FoldInput], reads: Mapping[Key, str]) -> tuple[list[SurveySums], dict[int, str]]:
    """Children's sums, and the places of those that cannot be used, with the reason."""
    tallies: list[SurveySums] = []
    refused: dict[int, str] = {}
    for place, member in enumerate(members):
        try:
            tallies.append(read_tally(reads[member.update]))
        except UnusableUpdateError as error:
            refused[place] = str(error)
    return tallies, refused


def _arrays(value: Any) -> Arrays:
    return value.to_arrays()


class _UnusableRoundError(ValueError):
    """What the updates of a round make of the model cannot be used."""


class _NothingError(Exception):
    """Nothing could be folded."""
