"""Numbers of a vector at places that all senders share."""

from __future__ import annotations

from fogline.stages.placed_code import PlacedCode
from fogline.stages.registry import STAGES


@STAGES.add("random_k")
class RandomK(PlacedCode):
    """The ``share`` of the numbers at places drawn anew in every round, the same for all senders, as they are, with
    error feedback (Stich, Cordonnier and Jaggi, NeurIPS 2018, arXiv 1809.07599; random mask: Konecny et al., arXiv
    1610.05492).

    A vector is cut in as many cells as numbers go, and of each one goes. The places are a seed of eight bytes. What
    several senders' codes come to has the same places, so a fog that sends it on by the same code loses nothing of it.
    """
