"""Where noise comes from: random bits that a secret key decides, and whole numbers made of them.

Numbers in floating point have gaps that depend on their size, and from the last bits of a noised one its plain one can
be told (Mironov, CCS 2012). So noise is whole numbers, added to whole numbers on a grid that everybody knows.
"""
