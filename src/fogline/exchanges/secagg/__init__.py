"""Secure aggregation: the aggregator learns the sum of the devices' updates, and of each only that it is in it."""

from fogline.exchanges.secagg.exchange import PrivateSecAgg, SecAgg, with_noise

__all__ = ["PrivateSecAgg", "SecAgg", "with_noise"]
