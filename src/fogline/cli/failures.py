"""Errors as sentences, and the exit status that scripts see."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; the text says how to go on."""


@contextmanager
def reported(debug: bool) -> Generator[None]:
    """Turn what goes wrong inside into a sentence on standard error and an exit.

    Args:
        debug: let the traceback through instead.

    Raises:
        SystemExit: 2 for wrong input, 1 for a failed run, 130 after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        say(str(stop) or "Interrupted.")
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        if _is_bad_input(error):
            say(f"fogline: {error}")
            raise SystemExit(BAD_INPUT) from error
        say(f"fogline: {type(error).__name__}: {error} (--debug shows where)")
        raise SystemExit(FAILED) from error


def _is_bad_input(error: Exception) -> bool:
    """Whether it is one of the errors that the input is to blame for, whose text is a sentence."""
    places = (("fogline.jobs.errors", "JobError"), ("fogline.nodes.policies.base", "PolicyError"))
    loaded = [(sys.modules[module], name) for module, name in places if module in sys.modules]
    return isinstance(error, tuple(getattr(module, name) for module, name in loaded))


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)
