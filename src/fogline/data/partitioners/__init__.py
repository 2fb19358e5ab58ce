"""Ways to spread the examples of one data set over many clients: every file registers its own by a decorator.

A partitioner takes the examples' labels, the number of clients, options by name, and a ``seed``: a whole number >= 0 or
a numpy generator. It is pure: the same arguments and seed give the same partition, and every example goes to exactly
one client unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

from fogline.data.indices import Partition
from fogline.plugins import Registry

PARTITIONERS = Registry[Callable[..., Partition]]("partition", "fogline.data.partitioners")
"""The partitioners that take labels, or are content with their number."""
