"""The Flower backend: clients that were written for Flower, as they are."""

from fogline.attributes import describe_attributes
from fogline.training.flwr.engines.loop import FlowerLoop
from fogline.training.flwr.task import ENGINES, FlowerTask

__all__ = ["ENGINES", "FlowerLoop", "FlowerTask"]

describe_attributes(__name__)
