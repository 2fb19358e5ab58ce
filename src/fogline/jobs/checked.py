"""Base of a job's parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict


class Checked(BaseModel):
    """Unknown keys are errors, values do not change, and a part prints what differs from the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __str__(self) -> str:
        return repr(self)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.is_required() or value != field.get_default(call_default_factory=True):
                yield name, value
