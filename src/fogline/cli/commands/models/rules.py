"""``fogline models link`` and ``retrain``: whom a model asks, and when it is trained again."""

from __future__ import annotations

from fogline.cli.commands.models.names import name_only
from fogline.cli.connection import asked
from fogline.cli.failures import UsageError
from fogline.cli.options import OPERATOR, Flag, OperatorOptions, duration


def link(
    model: str,
    to: str,
    /,
    *,
    accuracy: float | None = None,
    budget: float | None = None,
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Have a model ask a larger one, a tier above, where it is not sure.

    Parameters
    ----------
    model
        The small model's name.
    to
        The larger model's name.
    accuracy
        What the two must reach together, with as few questions as possible; from 0 to 1.
    budget
        Largest share of the samples that may be sent up, for the best accuracy; from 0 to 1.
    """
    if (accuracy is None) == (budget is None):
        raise UsageError("Say either what the two must reach (--accuracy 0.97) or what may be sent (--budget 0.3)")
    if not all(0 <= share <= 1 for share in (accuracy, budget) if share is not None):
        raise UsageError("--accuracy and --budget are shares; write a number from 0 to 1")
    small, large = name_only(model), name_only(to)
    print(asked(operator.folder, lambda client: client.link(small, large, accuracy, budget)))


def retrain(
    model: str,
    /,
    *,
    psi: float | None = None,
    cooldown: str = "1d",
    never: Flag = False,
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Run the job of a model again when its inputs drift.

    Parameters
    ----------
    model
        Its name.
    psi
        Population stability index of an input at which that happens; 0.25 is usual.
    cooldown
        Time between two such runs at least: 6h, 1d.
    never
        No longer do so.
    """
    if (psi is None) != never:
        raise UsageError("Say at which drift (--psi 0.25), or --never")
    if psi is not None and not psi > 0:
        raise UsageError(f"--psi must be above 0; {psi:g} is not, and 0.25 is usual")
    name, wait = name_only(model), duration("--cooldown", cooldown)
    print(asked(operator.folder, lambda client: client.retrain(name, psi, wait)))
