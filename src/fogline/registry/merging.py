"""How vitals add up on the way to the cloud."""

from __future__ import annotations

from fogline.registry.release import Vitals


def together(first: Vitals, second: Vitals) -> Vitals:
    """Vitals of both, for one version.

    A sketch that cannot be read or does not fit to the first's is left out; the counts of its nodes are not.
    """
    sketch = first.sketch or second.sketch
    if first.sketch and second.sketch:
        # Only where there is something to add: a node that serves nothing does without arrays.
        from fogline.inference.sketches import SketchError, merged

        try:
            sketch = merged(first.sketch, second.sketch)
        except SketchError:
            sketch = first.sketch
    return Vitals(first.model, first.version, first.tally + second.tally, sketch)
