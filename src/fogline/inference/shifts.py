"""How far a distribution has moved, from counts in fixed bins.

Two measures of shift, per feature, with reference shares q (of N samples) and observed shares p (of M), in B bins:

- population stability index, ``PSI = sum (p - q) ln(p / q)`` (Kullback and Leibler's J-divergence, 1951). Usual reading
  (Siddiqi, Credit Risk Scorecards, 2006): below 0.1 no change, up to 0.25 a moderate one, above 0.25 a major one.
  Half a sample is added to every bin that either side has seen, so that an empty one costs no infinity.
- Kolmogorov-Smirnov distance, ``KS = max |P - Q|`` of the cumulative shares, here at the bounds of the bins.

Small samples shift by chance alone. Without drift PSI is distributed as ``(1/N + 1/M) chi2(B - 1)`` (Yurdakul, 2018),
which for ten bins and 50 samples is 0.18 in the mean: "moderate drift" out of nothing. So both measures are what
remains **beyond what chance explains**: less the bound that a clean sample exceeds, in any feature, once in
:data:`CHANCE` looks (for KS the bound of Dvoretzky, Kiefer and Wolfowitz), and never below zero. With many samples that
is the plain value.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

CHANCE = 1000
MAJOR, MODERATE = 0.25, 0.1
"""PSI above which a change is called so."""


def stability(counts: Counts, reference: Counts) -> Numbers:
    """PSI of every row of counts (features, bins), as it is."""
    seen = (counts + reference) > 0
    p, q = _shares(counts + 0.5 * seen), _shares(reference + 0.5 * seen)
    ratio = np.where(seen, p, 1.0) / np.where(seen, q, 1.0)
    return np.where(_usable(counts, reference), ((p - q) * np.log(ratio)).sum(1), 0.0)


def distance(counts: Counts, reference: Counts) -> Numbers:
    """KS of every row of counts (features, bins), as it is. The bins' order is that of the values."""
    apart = np.abs(_shares(counts).cumsum(1) - _shares(reference).cumsum(1)).max(1, initial=0)
    return np.where(_usable(counts, reference), apart, 0.0)


def stability_by_chance(counts: Counts, reference: Counts) -> Numbers:
    """(1/N + 1/M) times the quantile of chi-squared, by Wilson and Hilferty's cube (1931)."""
    free = np.maximum(((counts + reference) > 0).sum(1) - 1, 1)
    z = NormalDist().inv_cdf(1 - 1 / (CHANCE * max(1, len(counts))))
    quantile = free * (1 - 2 / (9 * free) + z * np.sqrt(2 / (9 * free))) ** 3
    return quantile * _variance(counts, reference)


def distance_by_chance(counts: Counts, reference: Counts) -> Numbers:
    """sqrt(ln(2 / chance) / 2 (1/N + 1/M)), by Dvoretzky, Kiefer and Wolfowitz."""
    return np.sqrt(0.5 * math.log(2 * CHANCE * max(1, len(counts))) * _variance(counts, reference))


def _variance(counts: Counts, reference: Counts) -> Numbers:
    return 1 / np.maximum(counts.sum(1), 1) + 1 / np.maximum(reference.sum(1), 1)


def _usable(counts: Counts, reference: Counts) -> npt.NDArray[np.bool_]:
    return (counts.sum(1) > 0) & (reference.sum(1) > 0)


def _shares(counts: npt.NDArray[np.generic]) -> Numbers:
    numbers = counts.astype(np.float64)
    return numbers / np.maximum(numbers.sum(1, keepdims=True), 1e-300)
