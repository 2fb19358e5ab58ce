"""Homomorphic encryption: the aggregator adds up what it cannot read, with a key that only the devices have."""

from fogline.exchanges.ckks.exchange import Ckks, CkksSelective

__all__ = ["Ckks", "CkksSelective"]
