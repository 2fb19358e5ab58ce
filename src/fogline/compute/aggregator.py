"""What an aggregator's state machine decided, carried out from files to files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from fogline.aggregation import Arrays, Folded, Partial
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.group import GroupModel
from fogline.compute.column_blocks import Piece, PieceWriter, pieces
from fogline.compute.effects import GROUP, CarriedOut, CarryOut, Sift
from fogline.compute.files import read_group, read_model, write
from fogline.compute.groups import Groups, is_bug
from fogline.compute.members import RoundMembers
from fogline.nodes.effects import Adopt, GroupUpdate, Merge, Move
from fogline.nodes.messages import Key
from fogline.training.bugs import CodeError


class GroupsOnFiles:
    """Carries out an aggregator's effects. Where the model is worked on in blocks, memory does not grow with it.

    Args:
        groups: what effects compute.
        blocks: whether the model is worked on in blocks.
    """

    def __init__(self, groups: Groups, blocks: bool) -> None:
        self._groups = groups
        self._pieces = [
            (piece, Groups(groups.algorithm, piece.spec, groups.exact)) for piece in pieces(groups.spec, blocks)
        ]

    def begin(self, group: GroupModel, group_path: str, model_path: str) -> None:
        """Write the first group, and what its children get."""
        write(group_path, group)
        write(model_path, self._groups.send_down(group))

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
            case GroupUpdate():
                return self._group_update(asked, asked.effect)
            case _:
                raise ValueError(f"An aggregator carries out no {type(asked.effect).__name__}.")

    def sift(self, asked: Sift) -> CarriedOut:
        """Which updates would be refused. Mostly one look at each tells that none would."""
        members = RoundMembers(self._groups, asked.members, asked.reads)

        def fold() -> None:
            for piece, _ in self._pieces:
                members.fold(piece, True)

        if not members.surely_fit():
            members.work(fold)
        return CarriedOut(refused=tuple(members.refused.items()))

    def _adopt(self, asked: CarryOut, effect: Adopt) -> CarriedOut:
        base, source = None if effect.base is None else asked.reads[effect.base + GROUP], asked.reads[effect.source]

        def adopted(piece: Piece, groups: Groups) -> GroupModel:
            before = None if base is None else read_group(base, piece.read)
            return groups.adopt(before, read_model(source, piece.read))

        self._put(asked, effect.model, adopted)
        return CarriedOut((effect.model + GROUP, effect.model))

    def _move(self, asked: CarryOut, effect: Move) -> CarriedOut:
        members = RoundMembers(self._groups, effect.members, asked.reads)
        context = AggregatorContext(asked.population, asked.earlier, effect.lane, effect.lanes)
        base = asked.reads[effect.base + GROUP]

        def moved(piece: Piece, groups: Groups) -> GroupModel:
            group, folded = read_group(base, piece.read), members.fold(piece, False)
            assert not isinstance(folded, Partial)
            try:
                return groups.move(group, folded, context, effect.inside)
            except (ValueError, CodeError) as error:
                if isinstance(error, CodeError) and is_bug(error, members.count):
                    raise
                raise _UnusableRoundError(str(error)) from error

        try:
            members.work(lambda: self._put(asked, effect.model, moved))
            refused = members.refused
        except _UnusableRoundError as error:  # Whoever sent them, the job outlives them.
            self._put(asked, effect.model, lambda piece, _: read_group(base, piece.read))
            refused = dict.fromkeys(range(len(effect.members)), f"the round's updates cannot be used: {error}")
        return CarriedOut((effect.model + GROUP, effect.model), tuple(refused.items()))

    def _merge(self, asked: CarryOut, effect: Merge) -> CarriedOut:
        members = RoundMembers(self._groups, effect.members, asked.reads)

        def merged(piece: Piece, _: Groups) -> Folded | Partial:
            partial = members.fold(piece, True)
            if partial is None:
                raise _NothingError
            return partial

        made = (effect.update,)
        try:
            members.work(lambda: self._write({asked.writes[effect.update]: _arrays}, merged))
        except _NothingError:
            made = ()
        return CarriedOut(made, tuple(members.refused.items()))

    def _group_update(self, asked: CarryOut, effect: GroupUpdate) -> CarriedOut:
        base = asked.reads[effect.base + GROUP]
        self._write(
            {asked.writes[effect.update]: _arrays},
            lambda piece, groups: groups.group_update(read_group(base, piece.read)),
        )
        return CarriedOut((effect.update,))

    def _put(self, asked: CarryOut, model: Key, work: Callable[[Piece, Groups], GroupModel]) -> None:
        """Write a group, and what its children get."""

        def sent(group: GroupModel) -> Arrays:
            return self._groups.send_down(group).to_arrays()

        self._write({asked.writes[model + GROUP]: _arrays, asked.writes[model]: sent}, work)

    def _write(self, forms: dict[str, Callable[[Any], Arrays]], work: Callable[[Piece, Groups], Any]) -> None:
        """Work every piece once, and write what it gives into files, each in its own form."""
        with ExitStack() as open_files:
            writers = {path: open_files.enter_context(closing(PieceWriter(Path(path)))) for path in forms}
            for piece, groups in self._pieces:
                made = work(piece, groups)
                for path, form in forms.items():
                    writers[path].write(piece, form(made))


def _arrays(value: Any) -> Arrays:
    return value.to_arrays()


class _UnusableRoundError(ValueError):
    """What the updates of a round make of the model cannot be used."""


class _NothingError(Exception):
    """Nothing could be folded."""
