"""What every command prints goes through here: to a terminal of few characters, a reader that leaves, a full disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

READER_GONE = 128 + 13
"""The status of a program whose reader left, as the shell gives it (SIGPIPE)."""
CANNOT_PRINT = 1


@contextmanager
def guarded_output() -> Generator[None]:
    """Let nothing that is printed end in a traceback.

    Characters that the terminal does not know become question marks. Who reads standard output and leaves (``| head``)
    ends the command, silently; what cannot be written to standard error is left out, and the command goes on.

    Raises:
        SystemExit: standard output cannot be written.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _guarded(sys.stdout, _end), _guarded(sys.stderr, _go_on)
    try:
        yield
        sys.stdout.flush()
    finally:
        with suppress(SystemExit):
            sys.stdout.flush()
        sys.stdout, sys.stderr = before


class _Guard:
    """A stream; ``failed`` is told what the system says when it cannot be written."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], None]) -> None:
        self._stream = stream
        self._failed = failed

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """What is left in the stream's buffer goes nowhere, so that it does not fail again at the end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _guarded(stream: TextIO | None, failed: Callable[[OSError], None]) -> TextIO:
    if stream is None:  # It was closed before the program began; Python prints nowhere then.
        return cast("TextIO", open(os.devnull, "w", encoding="utf-8"))
    if hasattr(stream, "reconfigure"):
        cast("Any", stream).reconfigure(errors="replace")
    return cast("TextIO", _Guard(stream, failed))


def _end(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise SystemExit(READER_GONE)
    print(f"fogline: the output cannot be written: {error.strerror}", file=sys.stderr)
    raise SystemExit(CANNOT_PRINT)


def _go_on(_: OSError) -> None:
    """Nothing can be said, and the work counts."""
