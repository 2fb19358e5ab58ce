"""Was that example trained on? Scores of members and of others, and what an attacker makes of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
LEAST = 1e-9


def log_odds(losses: npt.ArrayLike) -> Array:
    """Cross-entropies as the log-odds of the right class, which spread like a bell (Carlini et al., 2022)."""
    loss = np.maximum(np.asarray(losses, np.float64), LEAST)
    return -loss - np.log(-np.expm1(-loss))


def auc(members: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Area under the curve: how often a member scores higher than another; 0.5 is chance."""
    inside, outside = np.asarray(members, np.float64), np.sort(np.asarray(others, np.float64))
    below = np.searchsorted(outside, inside, "left") + np.searchsorted(outside, inside, "right")
    return float(below.mean() / (2 * len(outside)))


def found_at(members: npt.ArrayLike, others: npt.ArrayLike, false_alarms: float) -> float:
    """The share of members above a threshold that at most that share of the others exceeds."""
    outside = np.sort(np.asarray(others, np.float64))[::-1]
    threshold = outside[int(false_alarms * len(outside))]
    return float((np.asarray(members, np.float64) > threshold).mean())


def likelihood_ratio(seen: npt.ArrayLike, shadows: npt.ArrayLike, inside: Flags) -> Array:
    """LiRA (Carlini et al., S&P 2022, online): how much better a score fits models that have seen an example than those
    that have not, as the logarithm of a ratio of normal densities.

    The variances are common to all examples, as few shadows want it.

    Args:
        seen: (n,) scores of the examples under attack.
        shadows: (s, n) their scores under models of the attacker's own; NaN where there is none.
        inside: (s, n) whether that model had the example.

    Returns:
        (n,) NaN where no shadow had the example, or all had.
    """
    observed, scores = np.asarray(seen, np.float64), np.asarray(shadows, np.float64)
    known = np.isfinite(scores)
    fits: list[Array] = []
    for part in (inside & known, ~inside & known):
        count = part.sum(0)
        mean = np.divide(np.where(part, scores, 0.0).sum(0), count, out=np.full(len(observed), np.nan), where=count > 0)
        off = (scores - mean)[part]
        freedom = max(1, off.size - int((count > 0).sum()))
        variance = max(float(np.square(off).sum()) / freedom, LEAST)
        fits.append(-np.square(observed - mean) / (2 * variance) - 0.5 * np.log(variance))
    return fits[0] - fits[1]
