"""The scikit-learn backend: linear models that learn by ``partial_fit``."""

from fogline.attributes import describe_attributes
from fogline.training.sklearn.engines.loop import SklearnLoop
from fogline.training.sklearn.task import ENGINES, SklearnTask

__all__ = ["ENGINES", "SklearnLoop", "SklearnTask"]

describe_attributes(__name__)
