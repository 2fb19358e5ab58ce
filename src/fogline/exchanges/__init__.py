"""What children and their parent tell each other between a request and its report: pairs of small pure machines."""

from fogline.attributes import describe_attributes
from fogline.exchanges.base import OWN, SEED, Exchange, ExchangeError
from fogline.exchanges.registry import EXCHANGES, make_exchange, name_of

__all__ = ["EXCHANGES", "OWN", "SEED", "Exchange", "ExchangeError", "make_exchange", "name_of"]

describe_attributes(__name__)
