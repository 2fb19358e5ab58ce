"""Models as flat vectors with names on them."""

from fogline.attributes import describe_attributes
from fogline.params.files import (
    as_stored,
    digest,
    from_bytes,
    load,
    load_arrays,
    map_arrays,
    save,
    save_arrays,
    to_bytes,
    write_arrays,
)
from fogline.params.frozen import check_frozen, frozen_layout, frozen_of, with_frozen
from fogline.params.model import Counters, Params, State, Vector
from fogline.params.shared_part import SharedPart
from fogline.params.spec import Entry, Role, Spec

__all__ = [
    "Counters",
    "Entry",
    "Params",
    "Role",
    "SharedPart",
    "Spec",
    "State",
    "Vector",
    "as_stored",
    "check_frozen",
    "digest",
    "from_bytes",
    "frozen_layout",
    "frozen_of",
    "load",
    "load_arrays",
    "map_arrays",
    "save",
    "save_arrays",
    "to_bytes",
    "with_frozen",
    "write_arrays",
]

describe_attributes(__name__)
