"""What attacks on single views have in common: every trial from every place, and what comes of it in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fogline.audit.findings import Finding, NotApplicableError, Rebuilt, sentence
from fogline.audit.scene import Observation, Scene
from fogline.audit.tap import View

Look = Callable[[int | None, Observation, View], Finding]
"""(examples that each device has in the trial, the run, what was seen) to what is found."""


def on_every_view(attack: str, scene: Scene, look: Look) -> Iterator[Finding]:
    """What an attack finds in one view from every place, in the first round of every trial.

    Raises:
        NotApplicableError: nothing was seen.
    """
    for examples, seen, view in scene.seen():
        try:
            yield look(examples, seen, view)
        except NotApplicableError as error:
            yield Finding(attack, view.place, "not applicable", sentence(error), examples, len(view.members))


def rebuilt(attack: str, scene: Scene, examples: int | None, view: View, pairs: Sequence[Rebuilt]) -> Finding:
    """What an attack that rebuilds examples has come to.

    Args:
        attack: its name.
        scene: the job.
        examples: what each device had; None: its own data.
        view: the update.
        pairs: every result with the original that is nearest to it.
    """
    recovered, all_ = sum(pair.recovered for pair in pairs), view.samples
    measures = {"recovered": float(recovered), "of": float(all_)}
    words = f"{recovered} of {all_} examples rebuilt"
    if pairs:
        best = max(pair.psnr for pair in pairs)
        measures |= {"best_psnr": best, "mean_psnr": sum(pair.psnr for pair in pairs) / len(pairs)}
        words += f", the best at {best:.0f} dB"
        likeness = [pair.ssim for pair in pairs if pair.ssim is not None]
        if likeness:
            measures |= {"best_ssim": max(likeness), "mean_ssim": sum(likeness) / len(likeness)}
            words += f" and a likeness (SSIM) of {max(likeness):.2f}"
    return Finding(
        attack,
        view.place,
        "leaks" if recovered else "holds",
        f"{words}.",
        examples,
        len(view.members),
        measures,
        tuple(pairs[: scene.settings.pictures]),
    )
