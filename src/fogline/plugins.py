"""What is looked up by name: methods, policies, engines, data sets, partitions, presets.

Each kind of thing has one :class:`Registry` and a package that is its home. To add one is to put one file into that
package, with one decorator::

    @METHODS.add("fedprox")
    class FedProx(FedAvg):
        \"\"\"FedAvg with a proximal pull to the model received.\"\"\"

It is found, listed and checked from then on, without an edit elsewhere. The home is imported when somebody first asks
for a name, so that a registry costs nothing before, and a file may import the registry that it is found by.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

ALIKE = 0.6
"""How alike a word must be to a known one to be taken for it, from 0 to 1."""
SENTENCE_END = re.compile(r"(?<=[a-z0-9)\]]\.)\s+(?=[A-Z])")

Thing = TypeVar("Thing")
Added = TypeVar("Added", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Plugin(Generic[Thing]):
    """One thing and what is told of it."""

    name: str
    summary: str
    """One line for people."""
    thing: Thing
    origin: tuple[str, str]
    """The module that added it, and what it is called there."""


class Registry(Mapping[str, Thing]):
    """The things of one kind by name: the default one first, then in the order of their names.

    Args:
        kind: what a sentence calls one of them: ``algorithm``.
        home: the package whose files add them, or one module that adds all.
        first: name of the one that comes first.
        error: what is raised for a name that there is not.
    """

    def __init__(self, kind: str, home: str, *, first: str = "", error: type[ValueError] = ValueError) -> None:
        self.kind = kind
        self.home = home
        self._first = first
        self._error = error
        self._plugins: dict[str, Plugin[Thing]] = {}
        self._is_complete = False

    def add(self, name: str, summary: str = "") -> Callable[[Added], Added]:
        """Decorates a class or a function that is one of these things.

        Args:
            name: what jobs and people call it.
            summary: one line for people; empty takes the first sentence of the docstring.

        Raises:
            ValueError: another thing has that name.
        """

        def added(thing: Added) -> Added:
            self.put(name, cast("Thing", thing), thing, summary)
            return thing

        return added

    def put(self, name: str, thing: Thing, source: Callable[..., Any], summary: str = "") -> None:
        """Add a thing that is not itself what a file defines, but is made from that.

        Args:
            name: what jobs and people call it.
            thing: what is found under the name.
            source: the class or function that was decorated.
            summary: one line for people; empty takes the first sentence of the source's docstring.

        Raises:
            ValueError: another thing has that name.
        """
        origin = source.__module__, source.__qualname__
        before = self._plugins.get(name)
        if before is not None and before.origin != origin:  # The same again: a file or a notebook's cell ran anew.
            raise ValueError(
                f"There are two of {self.kind} '{name}': {':'.join(before.origin)} and {':'.join(origin)}."
            )
        self._plugins[name] = Plugin(name, summary or first_sentence(source), thing, origin)

    def find(self, name: str) -> Plugin[Thing]:
        """The thing of that name; case, ``-`` and ``_`` do not matter.

        Raises:
            ValueError: there is none; the sentence names the nearest. (Or the registry's own error.)
        """
        known = self._complete()
        if name in known:
            return known[name]
        word = plain(name)
        for plugin in known.values():
            if plain(plugin.name) == word:
                return plugin
        raise self._error(f"There is no {self.kind} '{name}'{suggest(name, self)}")

    def name_of(self, thing: Thing) -> str | None:
        """The name of a thing that the package's own files added; None of any other.

        What a program added itself has a name there only: another process may not have imported it.
        """
        for plugin in self._complete().values():
            if plugin.thing is thing and f"{plugin.origin[0]}.".startswith(f"{self.home}."):
                return plugin.name
        return None

    def summary(self, name: str) -> str:
        """What a thing is, in one line."""
        return self._complete()[name].summary

    def __getitem__(self, name: str) -> Thing:
        return self._complete()[name].thing

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._complete(), key=lambda name: (name != self._first, name)))

    def __len__(self) -> int:
        return len(self._complete())

    def _complete(self) -> dict[str, Plugin[Thing]]:
        if not self._is_complete:
            home = import_module(self.home)
            for module in iter_modules(getattr(home, "__path__", ())):
                import_module(f"{self.home}.{module.name}")
            self._is_complete = True
        return self._plugins


class ParsedCall(NamedTuple):
    """A thing as a job names it, with its parameters: ``trimmed_mean(0.1)``."""

    name: str
    values: tuple[Any, ...]
    named: dict[str, Any]


class _Words(ast.NodeTransformer):
    """Puts values for the words that a job file has for them, and Python as it prints them."""

    VALUES: ClassVar[dict[str, Any]] = {"true": True, "false": False, "inf": math.inf, "nan": math.nan}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self.VALUES[node.id]) if node.id in self.VALUES else node


def read_call(text: str, error: type[ValueError] = ValueError) -> ParsedCall:
    """A name, and the values in the brackets behind it, if there are any.

    Args:
        text: ``trimmed_mean(0.1)``, ``clip(norm=1.0)``, ``module:Class``. Values are written as in Python or TOML.
        error: what is raised.

    Raises:
        ValueError: it is something else; one sentence, of the kind ``error``.
    """
    name, bracket, _ = text.partition("(")
    try:
        if not re.fullmatch(r"\s*[\w.:-]+\s*", name):
            raise ValueError(f"'{name}' is no name")
        if not bracket:
            return ParsedCall(name.strip(), (), {})
        return ParsedCall(name.strip(), *_arguments(f"_{text.strip()[len(name.lstrip()) :]}"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as wrong:
        raise error(f"'{text}' cannot be read; write a name, or name(0.1), or name(key=0.1)") from wrong


def _arguments(call: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The values of a call in Python's grammar: those without a name, and the others by name."""
    found = _Words().visit(ast.parse(call, mode="eval").body)
    is_call = isinstance(found, ast.Call) and isinstance(found.func, ast.Name)
    if not is_call or any(keyword.arg is None for keyword in found.keywords):
        raise ValueError("it is no call")
    named = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in found.keywords}
    return tuple(map(ast.literal_eval, found.args)), named


def nearest(word: str, known: Iterable[str], alike: float = ALIKE) -> str | None:
    """The known word that is most like this one, if any is like it at all; case, ``-`` and ``_`` do not matter."""
    names = {plain(name): name for name in known}
    close = get_close_matches(plain(word), names, n=1, cutoff=alike)
    return names[close[0]] if close else None


def suggest(word: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """A clause that names the closest known word, or lists all if none is close: ``; did you mean 'x'?``."""
    names = list(known)
    meant = nearest(word, names, alike)
    if meant is not None:
        return f"; did you mean '{meant}'?"
    return f"; there are {', '.join(names)}" if names else ""


def plain(name: str) -> str:
    """A name without what people write differently: case, hyphens and underscores."""
    return name.lower().replace("-", "").replace("_", "")


def first_sentence(thing: object) -> str:
    """The first sentence of a docstring, for people: in one line, without marks."""
    paragraph = inspect.cleandoc(getattr(thing, "__doc__", None) or "").partition("\n\n")[0]
    text = " ".join(paragraph.replace("``", "").split())
    return SENTENCE_END.split(text, maxsplit=1)[0]
