"""``fogline serve``."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from fogline.cli.failures import reported
from fogline.cli.options import Flag, Threads


def add_to(app: App) -> None:
    """Add this command."""
    app.command(serve)


def serve(
    model: Path,
    /,
    *,
    http: str = "127.0.0.1:8080",
    grpc: str = "127.0.0.1:8081",
    name: str | None = None,
    threads: Threads = 1,
    runtime: str | None = None,
    control: Flag = False,
    debug: Flag = False,
) -> None:
    """Answer predictions with a model, by the Open Inference Protocol V2.

    Parameters
    ----------
    model
        An ONNX file, a version that fogline models export wrote, the folder of a finished run, the safetensors file of
        one, or a folder with card.json and blobs/.
    http
        Address for HTTP; port 0 takes a free one.
    grpc
        Address for gRPC; none saves memory.
    name
        What the model is called. By default like the file or the job.
    threads
        Processors that the model may use.
    runtime
        What runs it: onnx, dense or torch. By default the fastest is measured.
    control
        Let clients load and unload the model.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.serve import serve_model

    with reported(debug):
        serve_model(model, name, (http, "" if grpc == "none" else grpc), threads, runtime or "", control)
