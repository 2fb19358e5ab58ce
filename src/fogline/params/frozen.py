"""What is frozen of a model, as a model of its own: it does not change, so it travels apart from the rest, and once."""

from __future__ import annotations

from fogline.params.model import Params
from fogline.params.spec import Spec


def frozen_layout(spec: Spec) -> Spec:
    """The layout of a model's frozen entries."""
    return Spec(tuple(entry for entry in spec.entries if entry.role == "frozen"))


def frozen_of(params: Params) -> Params | None:
    """A model's frozen entries; None where it has none."""
    spec = frozen_layout(params.spec)
    if not spec.entries:
        return None
    return Params.from_arrays(spec, {name: array for name, array in params.arrays().items() if name in spec.slices})


def with_frozen(params: Params, frozen: Params) -> Params:
    """A model with other frozen entries.

    Raises:
        ValueError: they are not those of this model; a sentence.
    """
    check_frozen(params.spec, frozen)
    whole = params.copy()
    for entry in frozen.spec.entries:
        target, source = (whole.vector, frozen.vector) if entry.is_float else (whole.counters, frozen.counters)
        target[whole.spec.slices[entry.name]] = source[frozen.spec.slices[entry.name]]
    return whole


def check_frozen(spec: Spec, frozen: Params | None) -> None:
    """Refuse frozen entries that are not those of a model of that layout. ``frozen``: None where there are none.

    Raises:
        ValueError: one sentence.
    """
    wanted, given = frozen_layout(spec).entries, () if frozen is None else frozen.spec.entries
    if given != wanted:
        odd = next(entry.name for entry in (*wanted, *given) if (entry in wanted) != (entry in given))
        raise ValueError(
            f"The job's frozen entries are not those of the model here: '{odd}' is missing, or has another shape or "
            "type; the task must make the same model everywhere"
        )
