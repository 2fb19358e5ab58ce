"""Code that loads examples is not ours: what it raises says whose examples they were to be."""

from __future__ import annotations

from types import TracebackType


class Loading:
    """While a developer's code loads what belongs to somebody: an error that it raises is marked with that.

    Args:
        whose: as it stands at the beginning of a sentence: ``Client 'a'``.
    """

    def __init__(self, whose: str) -> None:
        self._whose = whose

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and not loading_of(error):
            error.add_note(f"{self._whose}{MARK}")


MARK = ": loaded by this code"


def loading_of(error: BaseException) -> str:
    """Whose examples were being loaded by the code that raised that; empty where it did something else."""
    notes: list[str] = getattr(error, "__notes__", [])
    return next((note.removesuffix(MARK) for note in notes if note.endswith(MARK)), "")
