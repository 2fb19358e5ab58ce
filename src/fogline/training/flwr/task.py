"""Clients that were written for Flower, as a task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from fogline.data import Examples, FederatedData, from_clients
from fogline.data.arrays import read
from fogline.params import Entry, Params, Spec
from fogline.params.spec import FLOAT_TYPES
from fogline.plugins import Registry
from fogline.randomness import derived, seeded
from fogline.training.flwr.client import Answer, Arrays, Config, FlowerClients
from fogline.training.task import Engine, Sums, Task
from fogline.training.torch_threads import torch_on_one_thread
from fogline.user_code.bugs import CodeError

ENGINES = Registry[type[Engine]]("engine", "fogline.training.flwr.engines", first="loop")
"""Engines of the Flower backend; they are written against the class below."""

OF = "count of {}"
"""The sum that says over how many examples a metric was given."""
JUDGED = 0xE7A1
"""Sets what is drawn while a client judges apart from what is drawn elsewhere."""


class FlowerTask(Task):
    """A Flower ``ClientApp``, or a ``client_fn`` of a ``NumPyClient``, as it is.

    Client ``client-3`` is asked as Flower asks the node whose ``context.node_config`` has ``partition-id`` 3. It loads
    its data itself, trains and judges by its own code, and says how many examples it used, which is its weight. All
    floating entries of the model train, as Flower averages them all; of whole numbers the largest is kept.

    Args:
        app: the ``ClientApp``, or its ``client_fn``.
        clients: how many there are: ``num-partitions``.
        initial: gives the first model, under the job's seed: a module, its ``state_dict``, an ``ArrayRecord``, a
            dictionary of arrays or a list of them; or such a thing itself. None: ``get_parameters`` of the first client
            does, whose data must then be wherever the job is.
        run_config: what ``context.run_config`` is to be.
        node_config: what ``context.node_config`` has beside ``partition-id`` and ``num-partitions``.
        train_config: the ``config`` of ``fit``, or of the messages to ``train``; or a function that gives it for a
            round, counted from 1. Message handlers get ``server-round`` besides.
        evaluate_config: the same for judging; it knows no round.
        weighted_by: the metric by which message handlers say how many examples they used.
        metrics: names of the clients' metrics that are told; None: all, which must be numbers.
        name: what people call it.
        headline: the metric looked at first, one of those that clients give when they judge.
        higher_is_better: of the headline; where not said, its name tells.

    Raises:
        ValueError: there is no client, no first model, or one that is no model.
    """

    trains_itself: ClassVar[bool] = True

    def __init__(
        self,
        app: Any,
        clients: int,
        *,
        initial: Any = None,
        run_config: Config | None = None,
        node_config: Config | None = None,
        train_config: Config | Callable[[int], Config] | None = None,
        evaluate_config: Config | None = None,
        weighted_by: str = "num-examples",
        metrics: Collection[str] | None = None,
        name: str = "flower",
        headline: str = "loss",
        higher_is_better: bool | None = None,
    ) -> None:
        if clients < 1:
            raise ValueError(f"clients is {clients}; it must be 1 at least")
        super().__init__(name, _places(name, clients), False, headline, higher_is_better)
        self._clients = FlowerClients(app, clients, run_config or {}, node_config or {}, weighted_by, metrics)
        self._initial = initial
        self._train_config, self._evaluate_config = train_config, evaluate_config
        first = self._first(0)
        self._order = list(first)
        """Names in the clients' order; the spec has one of its own."""
        self._spec = Spec.of([_entry(name, array) for name, array in first.items()])

    @property
    def spec(self) -> Spec:
        """The layout of the model: as the first one is."""
        return self._spec

    def initial(self, seed: int) -> Params:
        """The first model, made under the seed."""
        return Params.from_arrays(self._spec, self._first(seed))

    def trained(self, examples: Examples, params: Params, round_index: int) -> tuple[Params, Answer]:
        """A model as a client trains it in a round (0-based) of its parent, and what the client says.

        Raises:
            ValueError: the client gives another model than it got.
            CodeError: it gives something else than it should.
        """
        given = self._train_config
        config: Config = (given(round_index + 1) if callable(given) else given) or {}
        if not self._clients.are_made:
            config = {**config, "server-round": round_index + 1}
        answer = self._clients.train(self._place(examples), self._arrays(params), config)
        arrays = answer.arrays
        if isinstance(arrays, list):
            if len(arrays) != len(self._order):
                raise ValueError(f"it gives {len(arrays)} arrays, and the model has {len(self._order)}")
            arrays = dict(zip(self._order, arrays, strict=True))
        self._check_types(arrays)
        return Params.from_arrays(self._spec, arrays), answer

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        """Sums over a client's examples: ``count``, every metric that it gives times that, and the count once more for
        each, since others may not give it.

        Raises:
            ValueError: it has used no examples.
            CodeError: it gives something else than it should.
        """
        place = self._place(examples)
        with seeded(derived(self.seed, place, JUDGED)):
            answer = self._clients.evaluate(place, self._arrays(params), self._evaluate_config or {})
        if not answer.examples > 0:
            raise ValueError(f"it judges on {answer.examples:g} examples")
        counts = dict.fromkeys(("count", *map(OF.format, answer.metrics)), answer.examples)
        if taken := counts.keys() & answer.metrics.keys():
            raise CodeError(
                f"it calls a metric '{min(taken)}', which is the number of examples here; name those that are to be "
                "told: FlowerTask(..., metrics=['loss'])"
            )
        return {name: value * answer.examples for name, value in answer.metrics.items()} | counts

    @property
    def sum_names(self) -> tuple[str, ...]:
        """Names of the sums that :meth:`evaluate` can give, as far as ``metrics`` says which metrics are told."""
        names = sorted(self._clients.told)
        return ("count", *names, *map(OF.format, names)) if names else ()

    def metrics(self, sums: Sums) -> dict[str, float]:
        """The clients' metrics, as means over the examples of those that give them."""
        if not sums:
            return {self.headline: float("nan")}
        counts = {name: sums[OF.format(name)] for name in sums if OF.format(name) in sums}
        return {name: sums[name] / count for name, count in counts.items()}

    def engines(self) -> Mapping[str, type[Engine]]:
        """The engines of this kind of task: only the reference."""
        return ENGINES

    def one_thread(self) -> AbstractContextManager[None]:
        """Keeps PyTorch to one thread, where the client's code has imported it."""
        return torch_on_one_thread()

    def _place(self, examples: Examples) -> int:
        if examples.count != 1:
            raise ValueError("it was given the data of several clients, and a Flower client has its own only")
        return int(examples.array[0, 0])

    def _arrays(self, params: Params) -> Arrays:
        """The model as clients know it: their order and types."""
        arrays, types = params.arrays(), {entry.name: entry.dtype for entry in self._spec.entries}
        return {name: arrays[name].astype(types[name]) for name in self._order}

    def _check_types(self, arrays: Arrays) -> None:
        """Refuse what would become other numbers than the client gave."""
        for entry in self._spec.entries:
            array = arrays.get(entry.name, np.zeros(0))
            if array.dtype.kind not in "biuf" and array.dtype.name not in FLOAT_TYPES:
                raise ValueError(f"it gives '{entry.name}' as {array.dtype}, and the model has {entry.dtype}")
            if entry.is_float or array.dtype.kind == "b":
                continue
            low, high = (0, 1) if entry.dtype == "bool" else (np.iinfo(entry.dtype).min, np.iinfo(entry.dtype).max)
            if not np.all((array == np.floor(array)) & (array >= low) & (array <= high)):
                raise ValueError(f"it gives '{entry.name}' with numbers that are none of {entry.dtype}")

    def _first(self, seed: int) -> Arrays:
        """The first model by name, in the clients' order."""
        with seeded(seed):
            asks = self._initial is None and self._clients.are_made
            named = _named(self._clients.parameters(0) if asks else self._initial)
        if not named:
            raise ValueError(
                "the clients give no first model; say who does: FlowerTask(..., initial=make_model), with a function "
                "of no arguments that gives a module, its state_dict, or arrays"
            )
        return {name: _array(name, value) for name, value in named.items()}


def _places(name: str, clients: int) -> FederatedData:
    """What stands for clients' examples, which nobody but they see: one each, which is its place."""
    data = {f"client-{place}": Examples(np.array([[place]]), np.zeros(1)) for place in range(clients)}
    return from_clients(name, data, test=data)


def _named(given: Any) -> Mapping[str, Any]:
    """A model's arrays by name, of whatever has or makes some."""
    makes = callable(given) and (isinstance(given, type) or not hasattr(given, "state_dict"))
    made: Any = given() if makes else given
    arrays: Any = made.state_dict() if hasattr(made, "state_dict") else made
    if isinstance(arrays, Mapping):
        return cast("Mapping[str, Any]", arrays)
    if not isinstance(arrays, Sequence | None):
        raise ValueError(f"initial gives a {type(arrays).__name__}; give a module, its state_dict, or arrays")
    return {str(place): array for place, array in enumerate(cast("Sequence[Any]", arrays or ()))}


def _array(name: str, value: Any) -> npt.NDArray[Any]:
    """An array of NumPy's, a tensor, or what a record of Flower's has."""
    return read(value.numpy() if hasattr(value, "stype") else value, f"The first model's '{name}'")


def _entry(name: str, array: npt.NDArray[Any]) -> Entry:
    kind = array.dtype.name
    return Entry(name, array.shape, kind, "trained" if kind in FLOAT_TYPES else "buffer")
