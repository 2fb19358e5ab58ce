"""Options that several commands have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from fogline import logs
from fogline.cli.failures import UsageError

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False)]
Many = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
Several = Annotated[tuple[str, ...], Parameter(negative="", show_default=False, consume_multiple=True)]
Debug = Annotated[bool, Parameter(negative="", show_default=False, help="Show the traceback of an error.")]
LogFormat = Literal["text", "json"]
Threads = Annotated[int, Parameter(validator=Number(gte=1))]
Attached = Annotated[bool, Parameter(negative="", show=False)]
"""For programs that start this one: what changes goes to standard output as JSON lines, and the end of standard
input ends it."""


@Parameter(name="*")
@dataclass(frozen=True)
class CommonOptions:
    """What every command takes; :func:`fogline.cli.app.main` heeds it."""

    debug: Debug = False


@Parameter(name="*")
@dataclass(frozen=True)
class OperatorOptions:
    """What every command takes that asks a cloud."""

    folder: Annotated[Path, Parameter(name="--cloud", env_var="FOGLINE_CLOUD")] = Path("fogline-cloud")
    """The operator's folder."""
    debug: Debug = False


@Parameter(name="*")
@dataclass(frozen=True)
class Predictions:
    """Whether and how a node answers predictions."""

    serve: Flag = False
    """Answer predictions with the models that the cloud releases."""
    http: str = "127.0.0.1:8080"
    """With --serve: address for HTTP; port 0 takes a free one."""
    grpc: str = "127.0.0.1:8081"
    """With --serve: address for gRPC; none saves memory."""
    threads: Threads = 1
    """With --serve: processors that a model may use."""
    variants: Flag = False
    """With --serve: use a variant in fewer bits where it is faster here."""


@Parameter(name="*")
@dataclass(frozen=True)
class Monitoring:
    """What a node shows to those who watch over it."""

    metrics: Annotated[str, Parameter(show_default=False)] = ""
    """Address for /metrics (Prometheus), /healthz and /readyz; none for no such endpoint. By default on this machine
    only, at port 7445 for a cloud, 7455 for a fog, 7465 for a device."""
    log_format: Annotated[LogFormat, Parameter(env_var=logs.FORMAT)] = "text"
    """What lines of the log look like: text for people, or json for programs."""
    traces: Flag = False
    """Send a trace of every round to an OpenTelemetry collector; OTEL_EXPORTER_OTLP_ENDPOINT says where it is."""


COMMON = CommonOptions()
OPERATOR = OperatorOptions()
NO_PREDICTIONS = Predictions()
MONITORING = Monitoring()


def duration(option: str, text: str) -> float:
    """Seconds, from what an option was given.

    Raises:
        UsageError: it is no time.
    """
    from fogline.jobs.units import seconds  # The job's room is heavy, and help needs nothing of it.

    try:
        wait = seconds(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    if not isinstance(wait, float) or wait < 0:
        raise UsageError(f"{option}: '{text}' is no time; write one such as 30s, 10min or 6h")
    return wait
