"""Code of a developer's that is wrong: it is named, with file and line, and never taken for a device that fails.

Three things can go wrong in code that is not ours. A hook of a method that raises, or gives what it must not, is a
bug: it ends the run (:class:`CodeError`). Numbers that leave the numbers (overflow, no memory) fail on a device and
stay there. And what a model, a loss or a data set raises on one client's examples is that client's failure, unless it
is an error that no data can cause (a name that does not exist).
"""

from __future__ import annotations

import inspect
import sysconfig
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from fogline.errors import FoglineError
from fogline.user_code.loading import loading_of

Result = TypeVar("Result")


class ExitError(FoglineError, RuntimeError):
    """Code of a developer's wanted to end the program (``sys.exit``), which only who runs it may."""


NUMERIC = (ArithmeticError, MemoryError, np.linalg.LinAlgError)
"""What numbers can cause."""
PROGRAMMING = (
    NameError,
    AttributeError,
    TypeError,
    ImportError,
    NotImplementedError,
    SyntaxError,
    RecursionError,
    ExitError,
)
"""What no number can cause: code does not fit together."""
NO_MEMORY = ("can't allocate memory", "out of memory")
"""How PyTorch says it, in an error of no type of its own."""
GPU_LOST = ("device-side assert", "illegal memory access", "unspecified launch failure")
"""What CUDA says when it can run nothing more in this process: no other device could train after it."""
READ_ONLY = ("read-only", "mappingproxy")
"""What NumPy and Python say where something is written that may only be read."""
OURS = str(Path(__file__).parents[1])
OTHERS = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen", "<__array_function__")
INSTALLED = ("site-packages", "dist-packages")


class CodeError(FoglineError, RuntimeError):
    """A developer's code is wrong. The text is a sentence: where in the run, what it did, in which file and line.

    What the code raised, if it raised, is the cause (``__cause__``) and has the traceback.

    Args:
        what: what it did: ``Pull.move raised NameError: …``.
        line: where it stands: ``pull.py, line 12``; empty where nobody knows.
        place: on which device, or at which aggregator in which round.
    """

    def __init__(self, what: str, line: str = "", place: str = "") -> None:
        super().__init__(what, line, place)
        self.what = what
        self.line = line
        self.place = place

    def at(self, place: str) -> CodeError:
        """The same, where it happened; what is nearer to it was said first, and stays."""
        self.place = self.place or place
        return self

    @property
    def plain(self) -> str:
        """What it did, in which file and line, without the place."""
        return f"{self.what} ({self.line})" if self.line else self.what

    def __str__(self) -> str:
        return f"{self.place}: {self.plain}" if self.place else self.plain


class HookNumbersError(ArithmeticError):
    """What numbers made a device's hook do; the text says which hook, what, and where."""


class NotFiniteError(HookNumbersError):
    """What a device reports is not finite."""


def attempt(function: Callable[[], Result]) -> Result | Exception:
    """Run what reaches into a developer's code; what it raises is the answer, not the end.

    This is the one place where anything may be raised: the code called is not ours. Who leaves a debugger wants out.
    """
    try:
        return function()
    except BdbQuit:
        raise
    except SystemExit as stop:
        return ExitError(said(stop)).with_traceback(stop.__traceback__)
    except Exception as error:  # noqa: BLE001 - a developer's code may raise anything
        return error


def reason_of(error: Exception, client: str) -> str:
    """Why a device failed, as a sentence that begins with the device.

    Raises:
        CodeError: it is a bug, which no device can help.
    """
    if isinstance(error, (CodeError, *PROGRAMMING)) or _is_gpu_lost(error):
        raise blame("training", error).at(client)
    if isinstance(error, HookNumbersError):
        return f"{client}: {str(error).rstrip('.')}."
    if loading_of(error):
        return f"{client}: {blame('', error).plain}."
    return f"{client}: training raised {said(error)}."


@contextmanager
def naming_lost_gpus() -> Generator[None]:
    """A GPU that can run nothing more is a bug of what ran on it, wherever it is first heard of.

    Raises:
        CodeError: a GPU was lost inside.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, CodeError) or not _is_gpu_lost(error):
            raise
        raise blame("what ran on a GPU", error) from error


def _is_gpu_lost(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and any(word in text_of(error) for word in GPU_LOST)


def sure(subject: str, function: Callable[[], Result]) -> Result:
    """Run what a run cannot do without, and no device answers for.

    Raises:
        CodeError: it raised; ``subject`` says what it was.
    """
    result = attempt(function)
    if isinstance(result, Exception):
        raise blame(subject, result)
    return result


def blame(subject: str, error: Exception | SystemExit) -> CodeError:
    """That a developer's code raised; the error is the cause. A bug that was named before stays what it is, and code
    that loads a client is named as such."""
    if isinstance(error, CodeError):
        return error
    raised = f"raised {said(error)}"
    if isinstance(error, ValueError | TypeError | AttributeError) and any(word in text_of(error) for word in READ_ONLY):
        raised = f"writes into what it was given, which can only be read ({said(error)}); work on a copy"
    whose = loading_of(error)
    wrong = CodeError(f"{'loading its data' if whose else subject} {raised}", line_of(error.__traceback__), whose)
    wrong.__cause__ = error
    return wrong


def is_numeric(error: Exception) -> bool:
    """Whether numbers can have caused that, or a lack of memory."""
    return isinstance(error, NUMERIC) or (
        isinstance(error, RuntimeError) and any(word in text_of(error) for word in NO_MEMORY)
    )


def text_of(error: BaseException) -> str:
    """An error's text; empty where its own code fails to give one."""
    text = attempt(lambda: str(error))
    return "" if isinstance(text, Exception) else text


def said(error: BaseException) -> str:
    """An error's type and the first line of its text."""
    lines = text_of(error).strip().splitlines()
    if isinstance(error, ExitError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def line_of(trace: TracebackType | None) -> str:
    """The last line of the developer's own code in a traceback: ``pull.py, line 12``; empty if there is none."""
    own = [frame for frame in traceback.extract_tb(trace) if is_own(frame.filename)]
    return f"{_shown(own[-1].filename)}, line {own[-1].lineno}" if own else ""


def line_of_definition(thing: object) -> str:
    """Where a function is defined; empty where it has no file."""
    code = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__code__", None)
    return "" if code is None else f"{_shown(code.co_filename)}, line {code.co_firstlineno}"


def is_own(file: str) -> bool:
    """Whether a file is neither ours nor installed: the developer's own."""
    return not file.startswith((OURS, *OTHERS)) and not any(folder in Path(file).parts for folder in INSTALLED)


def _shown(file: str) -> str:
    """A file as it is named from the folder that one works in."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
