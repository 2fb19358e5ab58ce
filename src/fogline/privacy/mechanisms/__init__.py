"""How noise is made: one file a mechanism, by name."""

from fogline.attributes import describe_attributes
from fogline.privacy.mechanisms.base import Integers, Mechanism, Use
from fogline.privacy.mechanisms.registry import MECHANISMS, make_mechanism

__all__ = ["MECHANISMS", "Integers", "Mechanism", "Use", "make_mechanism"]

describe_attributes(__name__)
