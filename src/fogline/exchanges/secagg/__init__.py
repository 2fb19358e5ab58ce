"""Secure aggregation: the aggregator learns the sum of the devices' updates, and of each only that it is in it."""

from fogline.exchanges.secagg.exchange import PrivateSecAgg, SecAgg

__all__ = ["PrivateSecAgg", "SecAgg"]
