"""Attacks: what malicious devices, or a malicious fog, do to a run. One file an attack."""

from fogline.simulation.attacks.base import Attack, Collusion
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView

__all__ = ["ATTACKS", "Attack", "Collusion", "RoundView"]
