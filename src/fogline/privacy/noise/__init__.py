"""Noise on the integers, exactly as its formula has it, and the chance that it is made of.

Numbers in floating point have gaps that depend on their size, and from the last bits of a noised one its plain one can
be told (Mironov, CCS 2012). So noise is drawn as integers, and added to integers on a grid that everybody knows.
"""

from fogline.privacy.noise.discrete_gaussian import DiscreteGaussian
from fogline.privacy.noise.skellam import Skellam
from fogline.privacy.noise.source import Seeded, Source, keyed, secret
from fogline.privacy.noise.table import IntegerNoise, NoiseError

__all__ = ["DiscreteGaussian", "IntegerNoise", "NoiseError", "Seeded", "Skellam", "Source", "keyed", "secret"]
