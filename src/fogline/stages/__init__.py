"""What stands on a link and changes what is sent there: one file a stage."""

from fogline.attributes import describe_attributes
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, LinkContext, Named, Stage, StageError
from fogline.stages.pipeline import Pipeline, check_texts, pipeline
from fogline.stages.registry import STAGES, make, text_of
from fogline.stages.vector_code import VectorCode

__all__ = [
    "STAGES",
    "Extent",
    "Layout",
    "LinkContext",
    "Named",
    "Pipeline",
    "Stage",
    "StageError",
    "VectorCode",
    "check_texts",
    "make",
    "pipeline",
    "text_of",
]

describe_attributes(__name__)
