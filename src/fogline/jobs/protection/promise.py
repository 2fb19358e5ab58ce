"""What a job's differential privacy protects, against whom, and what not: one paragraph that people get to read."""

from __future__ import annotations

from fogline.jobs.job import Job
from fogline.jobs.privacy import Privacy
from fogline.jobs.protection.protection import Protection, protection_of, releases_of

NO_AMPLIFICATION = (
    "That only some are asked in a round is not counted as protection: cohorts have a fixed size, are drawn by the "
    "job's seed, which every node knows, and end by quorum and deadline."
)
SIMULATED = (
    "In a simulation the noise comes from the job's seed, so that the run can be repeated: it shows what noise does to "
    "the model, and protects nobody."
)


def promise_of(job: Job, simulated: bool = False) -> str:
    """The paragraph; empty where the job protects nothing.

    Args:
        job: any that was checked.
        simulated: whether it is a simulation that starts.

    Raises:
        JobError: as :func:`fogline.jobs.protection.protection.protection_of`.
    """
    protection = protection_of(job)
    if protection is not None:
        sentences = [_who(protection), _how(protection), _against(protection), _not_hidden(job, protection)]
    elif job.privacy is not None:
        sentences = _of_examples(job.privacy)
    else:
        return ""
    return " ".join(sentences + [SIMULATED] * simulated)


def _of_examples(privacy: Privacy) -> list[str]:
    """Where each example is protected."""
    who = "Privacy: each example on each device is protected."
    if not privacy.noise:
        return [who, f"But privacy.noise is 0: gradients are clipped to {privacy.clip:g}, and nothing is promised."]
    return [
        who,
        f"In every step a device takes examples by chance, scales each one's gradient down to an L2 norm of "
        f"{privacy.clip:g}, and adds noise of {privacy.noise:g} times that to their sum.",
        "That is against everybody else, the aggregators above included.",
        "Not hidden is how many examples a device has, what all or many of them have in common, who takes part, when, "
        "how quickly, and that one fails.",
        "Every local round of a device counts; that a step takes only some examples counts as protection, that only "
        "some devices are asked does not.",
    ]


def _who(protection: Protection) -> str:
    if protection.privacy.unit == "device":
        return "Privacy: each device's whole data set is protected."
    fog = protection.tier_of(protection.unit)
    return f"Privacy: all data of each site is protected, that is, of all devices below one {fog}."


def _how(protection: Protection) -> str:
    privacy = protection.privacy
    if not privacy.noise:
        return f"But privacy.noise is 0: movements are clipped to {privacy.clip:g}, and nothing is promised."
    clip = f"an L2 norm of {privacy.clip:g}"
    if privacy.quantile is not None:
        clip += f" at first, later of the {privacy.quantile:g} quantile of all"
    giver = "a device" if privacy.unit == "device" else "a site"
    if protection.mechanism.distributed:
        added = (
            f"and {giver} adds a share of noise ({privacy.mechanism}), under masks that only let the sum be seen; the "
            f"shares of as few as may be left come to {privacy.noise:g} times that"
        )
    elif protection.local:
        added = f"and {giver} adds noise ({privacy.mechanism}) of {privacy.noise:g} times that before it sends it"
    else:
        added = (
            f"and {protection.tier_of(protection.noise)} adds noise ({privacy.mechanism}) of {privacy.noise:g} times "
            "that to the sum of every round"
        )
    return f"What {giver} gives is scaled down to {clip}, {added}."


def _against(protection: Protection) -> str:
    if protection.mechanism.distributed:
        aggregator = protection.tier_of(protection.unit - 1)
        return (
            f"That is against everybody else, {aggregator} included; of devices that are in league with it the shares "
            "do not count."
        )
    if protection.local:
        return "That is against everybody else, the aggregators above included."
    trusted = [protection.tier_of(depth) for depth in protection.sums]
    if protection.privacy.unit == "site":
        trusted += [protection.tier_of(protection.unit)]
    have = "have" if len(trusted) > 1 else "has"
    return (
        f"That is against whoever sees what {trusted[0]} makes of the sums (models, and all that comes of them), and "
        f"not against {' and '.join(trusted)}, which {have} them before there is noise."
    )


def _not_hidden(job: Job, protection: Protection) -> str:
    most = releases_of(job, protection)
    if most is not None:
        most = -(-most // protection.separation)
    often = (
        "as many releases as its aggregators move their models"
        if most is None
        else f"at most {most} release{'s' * (most != 1)}"
    )
    return (
        "Not hidden is who takes part, when, how quickly, and that one fails. "
        f"A {protection.privacy.unit} {'gives' if protection.local else 'is in'} {often}, and each counts. "
        f"{NO_AMPLIFICATION}"
    )
