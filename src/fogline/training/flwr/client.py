"""A Flower client as functions of arrays. The one file that knows Flower's classes.

A client of a ``client_fn`` and one of message handlers are asked with the same kinds of messages, under other names.
Written against Flower 1.41.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from numbers import Real
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fogline.user_code.bugs import CodeError

Arrays = dict[str, npt.NDArray[Any]]
"""A model's arrays by name, in the client's order."""
Config = Mapping[str, Any]
"""What a message carries beside the model: text, numbers, or lists of them, by name."""

FLOWER: Any = import_module("flwr.app")
CLIENT_APP: Any = import_module("flwr.clientapp").ClientApp
RUN, SERVER = 1, 1
"""What Flower numbers: the run, and the node that asks; clients are the nodes after it."""
NO_ARRAY = "_empty"
"""Under that name Flower sends that a client of a ``client_fn`` has given no array."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client says of a model that it trained or judged."""

    examples: float
    """How much it weighs."""
    metrics: dict[str, float]
    arrays: list[npt.NDArray[Any]] | Arrays = field(default_factory=list[npt.NDArray[Any]])
    """The trained model; by place where clients know no names."""


class FlowerClients:
    """The clients of an app.

    Args:
        app: a ``ClientApp``, or a ``client_fn``.
        count: how many there are.
        run_config: what ``context.run_config`` is to be.
        node_config: what ``context.node_config`` has beside ``partition-id`` and ``num-partitions``.
        weighted_by: name of the metric that says how many examples a message handler used.
        metrics: names of the metrics that are told; None: all.

    Raises:
        ValueError: the app is something else; a sentence.
    """

    def __init__(
        self,
        app: Any,
        count: int,
        run_config: Config,
        node_config: Config,
        weighted_by: str,
        metrics: Collection[str] | None,
    ) -> None:
        if not callable(app):
            raise ValueError(
                f"app is {app!r}; give the ClientApp itself, or its client_fn: from my_package.client_app import app"
            )
        self._app: Any = app if isinstance(app, CLIENT_APP) else CLIENT_APP(client_fn=app)
        self._run_config, self._weighted_by = dict(run_config), weighted_by
        self._node_config = {**node_config, "num-partitions": count}
        self._metrics = None if metrics is None else frozenset(metrics)

    @property
    def told(self) -> frozenset[str]:
        """Names of the metrics that are told; empty: all that clients give."""
        return self._metrics or frozenset()

    @property
    def are_made(self) -> bool:
        """Whether a ``client_fn`` makes them, so that they know arrays by their places; else handlers take messages."""
        return getattr(self._app, "_call", None) is not None  # Flower has no other word for it.

    def parameters(self, client: int) -> list[npt.NDArray[Any]]:
        """The model that a client begins with, by its ``get_parameters``; empty if it has no such method."""
        config = {"getparametersins.config": FLOWER.ConfigRecord()}
        content = self._ask(client, "get_parameters", FLOWER.RecordDict(config))
        if content.config_records["getparametersres.status"]["code"]:
            return []
        return _by_place(content.array_records["getparametersres.parameters"])

    def train(self, client: int, model: Arrays, config: Config) -> Answer:
        """A client's ``fit``, or its handler of ``train``.

        Raises:
            CodeError: it gives something else than it should.
        """
        content = self._ask(client, "train", self._content("fitins", model, config))
        if not self.are_made:
            examples, metrics = self._metric_record(content, "train")
            return Answer(examples, metrics, _by_name(_only(content.array_records, "train", "ArrayRecord")))
        _check_status(content, "fitres")
        metrics = self._told(content.config_records["fitres.metrics"])
        return Answer(_examples(content, "fitres"), metrics, _by_place(content.array_records["fitres.parameters"]))

    def evaluate(self, client: int, model: Arrays, config: Config) -> Answer:
        """A client's ``evaluate``, or its handler of that name.

        Raises:
            CodeError: it gives something else than it should.
        """
        content = self._ask(client, "evaluate", self._content("evaluateins", model, config))
        if not self.are_made:
            return Answer(*self._metric_record(content, "evaluate"))
        _check_status(content, "evaluateres")
        loss = {"loss": content.metric_records["evaluateres.loss"]["loss"]}
        told = self._told({**content.config_records["evaluateres.metrics"], **loss})
        return Answer(_examples(content, "evaluateres"), told)

    def _content(self, ins: str, model: Arrays, config: Config) -> Any:
        given = FLOWER.ConfigRecord(dict(config))
        if self.are_made:
            placed = FLOWER.ArrayRecord([*model.values()])
            return FLOWER.RecordDict({f"{ins}.parameters": placed, f"{ins}.config": given})
        named = FLOWER.ArrayRecord({name: FLOWER.Array(array) for name, array in model.items()})
        return FLOWER.RecordDict({"arrays": named, "config": given})

    def _ask(self, client: int, kind: str, content: Any) -> Any:
        """What a client answers; it remembers nothing of what it was asked before."""
        context = FLOWER.Context(
            run_id=RUN,
            node_id=SERVER + 1 + client,
            node_config={**self._node_config, "partition-id": client},
            state=FLOWER.RecordDict(),
            run_config=dict(self._run_config),
        )
        metadata = FLOWER.Metadata(
            run_id=RUN,
            message_id="",
            src_node_id=SERVER,
            dst_node_id=context.node_id,
            reply_to_message_id="",
            group_id="",
            created_at=time.time(),
            ttl=FLOWER.DEFAULT_TTL,
            message_type=kind,
        )
        reply = self._app(FLOWER.Message(content=content, metadata=metadata), context)
        if not isinstance(reply, FLOWER.Message):
            raise CodeError(f"its handler of '{kind}' gives a {type(reply).__name__}; it must give a Message")
        if len(context.state):
            raise CodeError(
                f"it keeps '{next(iter(context.state))}' in context.state, which is not kept from round to round here; "
                "a method of Fogline's keeps layers or a model on each device (private, or a personal method)"
            )
        if reply.has_error():
            raise ValueError(str(reply.error.reason))
        return reply.content

    def _metric_record(self, content: Any, kind: str) -> tuple[float, dict[str, float]]:
        given = dict(_only(content.metric_records, kind, "MetricRecord"))
        examples = given.pop(self._weighted_by, None)
        if not isinstance(examples, Real):
            raise CodeError(f"{kind} gives no number '{self._weighted_by}' in its MetricRecord, which is its weight")
        return float(examples), self._told(given)

    def _told(self, given: Mapping[str, Any]) -> dict[str, float]:
        """Metrics as plain numbers; those of a list by their places."""
        told: dict[str, float] = {}
        for name, value in given.items():
            if self._metrics is not None and name not in self._metrics:
                continue
            parts = cast("list[object]", value) if isinstance(value, list) else None
            for place, part in enumerate([value] if parts is None else parts):
                if not isinstance(part, Real):
                    raise CodeError(
                        f"it gives the metric '{name}' as {type(part).__name__}, and the history has numbers only; "
                        "name those that are to be told: FlowerTask(..., metrics=['loss'])"
                    )
                told[name if parts is None else f"{name}/{place}"] = float(part)
        return told


def _check_status(content: Any, res: str) -> None:
    """Refuse what a client says that it has not done."""
    status = content.config_records[f"{res}.status"]
    if status["code"]:
        raise CodeError(f"Flower says: {status['message'] or status['code']}")


def _examples(content: Any, res: str) -> float:
    return float(content.metric_records[f"{res}.num_examples"]["num_examples"])


def _only(records: Mapping[str, Any], kind: str, what: str) -> Any:
    if len(records) != 1:
        raise CodeError(f"{kind} gives {len(records)} of {what}; it must give one")
    return next(iter(records.values()))


def _by_place(record: Mapping[str, Any]) -> list[npt.NDArray[Any]]:
    return [np.asarray(array.numpy()) for name, array in record.items() if name != NO_ARRAY]


def _by_name(record: Mapping[str, Any]) -> Arrays:
    return {name: np.asarray(array.numpy()) for name, array in record.items()}
