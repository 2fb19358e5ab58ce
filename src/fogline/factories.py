"""Classes that a job names with parameters, and how one is made: methods, rules, stages, exchanges and policies.

What is wrong with a name or a parameter is said here, in the same words of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, cast

from fogline.parameters import fitted, signature_of
from fogline.plugins import Registry, read_call
from fogline.user_code.bugs import attempt, blame
from fogline.user_code.classes import own_class

Made = TypeVar("Made")


class Factory(Registry[type[Made]]):
    """Classes by name, Fogline's own or a developer's (``module:Class``), of which one is made by its parameters.

    Args:
        kind: what a sentence calls one of them: ``rule``.
        home: the package whose files add them.
        base: what each is a subclass of.
        first: name of the one that comes first.
        error: what is raised for whatever is wrong.
        check: refuses, with a ``ValueError``, a class that is not what one of them must be.
    """

    def __init__(
        self,
        kind: str,
        home: str,
        base: type[Made],
        *,
        first: str = "",
        error: type[ValueError] = ValueError,
        check: Callable[[type[Made]], None] | None = None,
    ) -> None:
        super().__init__(kind, home, first=first, error=error)
        self._base = base
        self._check = check

    def kind_of(self, name: str) -> type[Made]:
        """The class of that name.

        Raises:
            ValueError: there is none; the sentence names the nearest.
        """
        return own_class(name, self.kind, self._base, self._error) if ":" in name else self.find(name).thing

    def make(self, name: str, /, *values: Any, **parameters: Any) -> Made:
        """One by its name and its parameters; those left out have their defaults.

        Raises:
            ValueError: there is no such class or parameter, a value is wrong, or the class is not what it must be; one
                sentence.
        """
        return self.make_of(self.kind_of(name), name, *values, **parameters)

    def make_of(self, kind: type[Made], name: str, /, *values: Any, **parameters: Any) -> Made:
        """One of a class that was found already; ``name``: what the job calls it.

        Raises:
            ValueError: as of :meth:`make`.
        """
        if self._check is not None:
            self._check(kind)
        subject, signature = f"{self.kind} '{name}'", signature_of(kind)
        if signature.checked:
            values, parameters = (), fitted(subject, kind, signature, values, parameters, self._error)
        made = attempt(lambda: kind(*values, **parameters))
        if isinstance(made, Exception):
            why = made if isinstance(made, ValueError) else blame(kind.__name__, made).plain
            raise self._error(f"The {subject} cannot be made: {why}") from made
        return made

    def read(self, text: str) -> Made:
        """One that a text names, with its parameters in brackets: ``trimmed_mean(0.1)``.

        Raises:
            ValueError: the text cannot be read, or as of :meth:`make`.
        """
        call = read_call(text, self._error)
        return self.make(call.name, *call.values, **call.named)

    def text_of(self, made: Made, own: str) -> str:
        """The text that names one, with what differs from the defaults; :meth:`read` makes it of that again.

        Args:
            made: one whose class is a dataclass.
            own: its class as ``module:Class``, where it is none of Fogline's.
        """
        name = self.name_of(type(made)) or own
        values = ((field, getattr(made, field.name)) for field in fields(cast("Any", made)))
        given = {field.name: value for field, value in values if value != field.default}
        arguments = ", ".join(f"{key}={_literal(value)}" for key, value in given.items())
        return f"{name}({arguments})" if arguments else name


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
