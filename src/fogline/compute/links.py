"""Which stages stand on the links around a node."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from fogline.algorithms import Algorithm
from fogline.compute.messages import NONE
from fogline.jobs import Job, JobError
from fogline.jobs.planning import mix
from fogline.jobs.protection import protection_of
from fogline.jobs.rules import rules_of
from fogline.nodes.role import role_of
from fogline.nodes.traits import AlgorithmTraits, traits_of
from fogline.params import Spec
from fogline.stages import LinkContext, Pipeline, Stage, StageError, pipeline
from fogline.stages.base import MANY
from fogline.stages.delta import Delta

MODELS, NUMBERS = 16, 1 << 24
"""Of how many models a device's message may be the code, or of how many numbers where the model is small."""
DEVICES = 1000
"""Of how many devices a fog's may hold what they sent, each under a name of its own."""


@dataclass(frozen=True, slots=True)
class NodeLinks:
    """The stages of the links around one node."""

    sends: Pipeline = NONE
    """Of what it sends its parent."""
    takes: Pipeline = NONE
    """Of what its children send it."""
    adds: Pipeline = NONE
    """Of what its children send it, as :attr:`takes`; in an exchange too, where it adds up what they brought."""
    gives: Pipeline = NONE
    """Of the models that its children get."""
    gets: Pipeline = NONE
    """Of the models that it gets itself."""
    restores: Pipeline = NONE
    """Of the differences between them, where it does not get every model whole."""
    judges: Pipeline = NONE
    """Of the models that come to be judged: the root's, which every aggregator hands on as they are."""
    decodes: bool = False
    """Whether what it sends goes into an exchange, which adds numbers up: then the node works its stages both ways, and
    brings what its parent would have read."""
    merges: bool = False
    """Whether it sends sums of its children's updates."""
    stays_coded: bool = False
    """Whether it sends them in the linear code that the updates came in."""
    seed: int = 0
    """Of the job."""
    movement: str = "delta"

    def from_device(self, seed: int, round_: int) -> LinkContext:
        """What stages know of a device's update in that round; ``seed``: of its part in it."""
        return LinkContext(mix(seed, _number("update")), self.movement, common=self._common(round_))

    def from_aggregator(self, node: str, round_: int) -> LinkContext:
        """What stages know of an aggregator's report in that round of the root."""
        return LinkContext(mix(self.seed, _number(node), round_), self.movement, common=self._common(round_))

    def down(self, key: str) -> LinkContext:
        """What stages know of the model of that key."""
        seed = mix(self.seed, _number(key))
        return LinkContext(seed, "", common=seed)

    def _common(self, round_: int) -> int:
        return mix(self.seed, _number("common"), round_)


UNSTAGED = NodeLinks()
"""Links without stages."""


def links_of(job: Job, algorithm: Algorithm, depth: int, spec: Spec) -> NodeLinks:
    """The stages around a node.

    Args:
        job: names them.
        algorithm: of the job.
        depth: aggregators above the node.
        spec: layout of what is shared of the model.

    Raises:
        StageError: a stage cannot be made.
    """
    tiers, traits = list(job.tree.tiers.values()), _traits(job, algorithm)

    def uplink(tier: int) -> Pipeline:
        if not 0 <= tier < len(tiers):
            return NONE
        most = max(MODELS * spec.floats, NUMBERS) * (1 if tier == len(tiers) - 1 else DEVICES)
        return pipeline(tiers[tier].uplink).fitted(spec).up_to(most)

    def downlink(tier: int) -> Pipeline:
        if not 0 <= tier < len(tiers):
            return NONE
        return pipeline(tiers[tier].downlink).fitted(spec) if _moves(job, traits, tier) else downlink(tier - 1)

    def whole(stages: Pipeline) -> Pipeline:
        """Those that a model is in when it is there: differences have been added up."""
        return NONE if stages.delta else stages

    sends, adds = uplink(depth - 1), uplink(depth)
    merges = depth < len(tiers) and not _moves(job, traits, depth)
    return NodeLinks(
        sends=sends,
        takes=NONE if depth < len(tiers) and tiers[depth].exchange else adds,
        adds=adds,
        gives=downlink(depth),
        gets=whole(downlink(depth - 1)),
        restores=downlink(depth - 1) if downlink(depth - 1).delta else NONE,
        judges=whole(downlink(0)),
        decodes=0 < depth <= len(tiers) and bool(tiers[depth - 1].exchange),
        merges=merges,
        stays_coded=merges and sends.code is not None and sends.code.is_same(adds.code),
        seed=job.seed,
        movement=algorithm.movement,
    )


def check_links(job: Job, algorithm: Algorithm) -> None:
    """Refuse stages where they cannot do what they are for.

    Raises:
        JobError: one sentence that names the key.
    """
    traits = _traits(job, algorithm)
    for depth, (name, tier) in enumerate(job.tree.tiers.items()):
        for key, texts in (("uplink", tier.uplink), ("downlink", tier.downlink)):
            try:
                stages = pipeline(texts).stages
            except StageError as error:
                raise JobError(f"tree.{name}.{key}: {error}") from error
            for text, stage in zip(texts, stages, strict=True):
                if key == "uplink":
                    why = _amiss_up(job, traits, depth, stage)
                else:
                    why = _amiss_down(job, traits, depth, stage, stages)
                if stage.changes and not algorithm.adds_changes:
                    why = f"{type(algorithm).__name__} cannot add up changes; take the method 'ef21', or another code"
                elif stage.single and not algorithm.movement:
                    why = f"nothing that {type(algorithm).__name__} sends moves the model; leave it out"
                if why is not None:
                    raise JobError(f"tree.{name}.{key}: '{text}' cannot stand here: {why}")
    last = job.tree.names[-1]
    if algorithm.adds_changes and not any(stage.changes for stage in pipeline(job.tree.tiers[last].uplink).stages):
        raise JobError(
            f"tree.{last}.uplink names no stage that sends changes, which {type(algorithm).__name__} adds up; name "
            "\"ef21('top_k(share=0.01)')\" there"
        )


def _traits(job: Job, algorithm: Algorithm) -> AlgorithmTraits:
    return traits_of(algorithm, rules_of(job, algorithm), protection=protection_of(job))


def _amiss_up(job: Job, traits: AlgorithmTraits, depth: int, stage: Stage) -> str | None:
    """Why a stage cannot work on what children of a tier send; None if it can."""
    names = job.tree.names
    if isinstance(stage, Delta):
        return "what goes up is no model that the parent holds; name it in a downlink"
    if job.tree.tiers[names[depth]].exchange and stage.codes and not stage.linear:
        return "it makes codes, and the exchange of that tier adds up numbers; leave it out"
    if depth + 1 == len(names) or _moves(job, traits, depth + 1):
        return None
    below = names[depth + 1]
    if stage.single:
        return f"{below} sends sums of updates, and no single ones; name it at {names[-1]}"
    if job.exact and stage.lossy:
        return f"with exact = true {below} sends sums in whole numbers, which it would spoil; leave it out"
    return None


def _amiss_down(job: Job, traits: AlgorithmTraits, depth: int, stage: Stage, stages: Sequence[Stage]) -> str | None:
    """Why one of the stages cannot work on the models of a tier; None if it can."""
    if not _moves(job, traits, depth):
        return f"{job.tree.names[depth]} has no model of its own and hands on what it gets; name it at a tier above"
    closed = isinstance(stages[0], Delta)  # What is lost of a difference is in the next.
    if isinstance(stage, Delta):
        alone = "alone it makes nothing smaller; put a code after it, such as 'stc(feedback=false)' or 'int8'"
        return None if any(other.codes for other in stages) else alone
    if stage.single or stage.remembers:
        return "what goes down is a model, and no update of one sender; leave it out"
    if stage.codes and not closed and not stage.unbiased and stage.error(MANY) > 0.5:
        return (
            "what goes down is a model, and more than half of it may be lost for good; take a finer code, or put "
            "'delta' before it"
        )
    return None


def _moves(job: Job, traits: AlgorithmTraits, depth: int) -> bool:
    """Whether the aggregators of a tier have models of their own."""
    return role_of(job, traits, "", job.tree.names[depth], None if depth == 0 else "its parent").moves


def _number(name: str) -> int:
    return zlib.crc32(name.encode())
