"""How rounds run, for everybody who must know: a node that has little memory need import nothing else for it."""

from __future__ import annotations

from typing import Literal

Mode = Literal["sync", "async", "semi-async", "ring"]
"""How an aggregator's rounds run."""
