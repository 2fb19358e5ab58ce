"""Where a job's differential privacy is made: who is one unit, who clips what it gives, and who adds the noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fogline.jobs.errors import JobError, suggest
from fogline.jobs.job import Job
from fogline.jobs.privacy import DEVICES, Privacy
from fogline.jobs.tree import Tree
from fogline.privacy.accounting.events import Event
from fogline.privacy.mechanisms import Mechanism, Use, make_mechanism


@dataclass(frozen=True)
class Protection:
    """Of units that are devices or sites. Depths count aggregators above a node: the root has 0, and devices as many as
    there are tiers."""

    privacy: Privacy
    tree: Tree
    unit: int
    """Depth of the nodes that give what one unit has to give: it is clipped there."""
    noise: int
    """Depth of those that add noise: to the sum of units below them, or, at the depth of units, each to its own (all of
    it, or its share)."""

    @cached_property
    def mechanism(self) -> Mechanism:
        """What makes the noise."""
        return make_mechanism(self.privacy.mechanism)

    @property
    def local(self) -> bool:
        """Whether units add the noise that they need themselves, so that nobody else sees what they give without it."""
        return self.noise == self.unit and not self.mechanism.distributed

    @property
    def sums(self) -> range:
        """Depths of the aggregators that have sums of what units give, without noise (or with a share of it)."""
        return range(self.noise, self.unit)

    @property
    def separation(self) -> int:
        """Rounds from one that a unit is in to the next, at least: whoever asks units keeps to it."""
        return self.tree.tiers[self.tree.names[self.unit - 1]].period

    @property
    def own_models(self) -> tuple[str, ...]:
        """Tiers below the root whose aggregators need models of their own: what they send is no sum any more."""
        names = self.tree.names
        return tuple(names[depth] for depth in sorted({self.noise, self.unit}) if 0 < depth < len(names))

    def tier_of(self, depth: int) -> str:
        """The tier of that depth, or ``devices``."""
        return self.tree.names[depth] if depth < len(self.tree.names) else DEVICES

    def units(self, population: int) -> float:
        """How many units a sum is expected to have: what it is divided by, whoever took part.

        It is told by the job and by how many devices there are, so that the mean gives away nothing of who took part
        (McMahan et al., ICLR 2018, section 2.2: a fixed denominator). Where fewer take part, the model moves less.

        Args:
            population: devices below the aggregator that adds the noise.
        """
        tiers, units = list(self.tree.tiers.values()), 1.0
        for depth in self.sums:
            tier = tiers[depth]
            if depth + 1 < len(tiers):
                children = tiers[depth + 1].count / tier.count
            else:
                children = population * tiers[self.noise].count / tier.count
            asked = tier.cohort if isinstance(tier.cohort, int) else tier.cohort * children
            units *= max(asked, tier.fewest)
        return units


def protection_of(job: Job) -> Protection | None:
    """Where noise is added for devices or sites; None where the job wants none for them.

    Raises:
        JobError: there is no such place in its tree; one sentence that names the key.
    """
    privacy, names = job.privacy, job.tree.names
    if privacy is None or privacy.unit == "example":
        return None
    unit = len(names) - (privacy.unit == "site")
    if unit == 0:
        raise JobError(
            f"privacy.unit is 'site', but devices hang below {names[0]} itself; add a tier of fogs, one for each site, "
            "or protect each 'device'"
        )
    everywhere = len(names) if make_mechanism(privacy.mechanism).distributed else 0
    places = {"": everywhere, **{name: depth for depth, name in enumerate(names)}, DEVICES: len(names)}
    noise = places.get(privacy.at)
    if noise is None:
        raise JobError(f"privacy.at is '{privacy.at}', which is no tier{suggest(privacy.at, list(places)[1:])}")
    if noise > unit:
        raise JobError(
            f"privacy.at is '{privacy.at}', below the aggregators that have what a site gives as one; name a tier down "
            f"to '{names[-1]}'"
        )
    if everywhere and (noise, unit) != (everywhere, everywhere):
        raise JobError(
            f"privacy.mechanism is '{privacy.mechanism}', whose noise each device adds a share of, so that "
            "privacy.unit is 'device' and privacy.at 'devices'; leave both out, or take 'gaussian'"
        )
    return Protection(privacy, job.tree, unit, noise)


def releases_of(job: Job, protection: Protection) -> int | None:
    """How many sums with noise one unit can be in (or how often it gives something with noise of its own); None where
    that is only known in the end, because a tier does not work in rounds.

    Args:
        job: any.
        protection: of it.
    """
    releases = job.rounds
    for depth, tier in enumerate(job.tree.tiers.values()):
        if depth > protection.noise:
            break
        if tier.mode not in (None, "sync"):
            return None
        releases *= tier.rounds if depth else 1
    return releases


def events_of(job: Job, releases: int, times: int | None = None) -> tuple[Event, ...]:
    """What a job tells of one device or one site, for an accountant.

    No smaller cost is claimed because only some devices are asked (amplification by sampling): that holds where each is
    drawn independently of all others, and where nobody who sees the models knows who was. A tier's cohorts have a fixed
    size, are drawn by the job's seed, which every node has, and end by quorum and deadline. What counts is in how many
    rounds a unit is: in each, or, where the policy ``rotation`` asks it, in one of several.

    Args:
        job: any that protects devices or sites.
        releases: sums with noise that one aggregator gives out (or one unit, where units add the noise), and rounds
            that came to none.
        times: how many of them one unit is in at most; None: all.

    Raises:
        JobError: it protects no device and no site.
    """
    protection = protection_of(job)
    if protection is None:
        raise JobError("The job has no [privacy] for devices or sites, so that there is nothing to be counted of them.")
    most = -(-releases // protection.separation)
    use = Use(releases, most if times is None else min(times, most), protection.separation)
    return protection.mechanism.events(protection.privacy.noise, use)
