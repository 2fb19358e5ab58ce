"""What a job's file says of local training, for rooms below the jobs that read it too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class LocalSettings(BaseModel):
    """Local training, as a job's table ``local`` and :class:`fogline.training.LocalTraining` have it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    learning_rate: PositiveFloat = 0.1
    batch_size: PositiveInt | None = 10
    smallest_batch: PositiveInt = 1
    """A last batch of fewer examples joins the one before it; where nothing is said, 2 for a model that does not train
    on one example (batch normalisation)."""
    epochs: PositiveInt = 1
    steps: PositiveInt | None = None
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: PositiveFloat | None = None
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
