"""``fogline serve``: one model, answering alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import is_zipfile

import msgspec

from fogline.cli.failures import UsageError
from fogline.cli.options import COMMON, CommonOptions, Flag, Threads
from fogline.inference.card import LARGEST, Asset, Card, ModelName, read_card
from fogline.logs import write_logs
from fogline.serving.server.assembly import hooks, new_loop, opener
from fogline.serving.server.server import Addresses, Server
from fogline.serving.server.versions.files import ModelFiles
from fogline.serving.settings import Settings

CARD, BLOBS, JOB = "card.json", "blobs", "job.toml"


@dataclass(frozen=True)
class Found:
    """A version on this machine."""

    card: Card
    files: Mapping[str, Path]
    """By digest."""
    code: str = ""
    """Folder with the task's code, where there is one."""
    notes: Sequence[str] = ()
    """What people should know of how it was made."""


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
    options: CommonOptions = COMMON,
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
    """
    write_logs()
    with TemporaryDirectory(prefix="fogline-serve-") as scratch:
        found = find(model, Path(scratch))
        card = msgspec.structs.replace(found.card, version=max(1, found.card.version), model=name or found.card.model)
        _check_name(card.model)
        settings = Settings(
            listen=http,
            grpc="" if grpc == "none" else grpc,
            threads=threads,
            only=runtime or "",
            control=control,
            code=found.code,
        )
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_serve(settings, card, found))


async def _serve(settings: Settings, card: Card, found: Found) -> None:
    server = Server(settings, opener(settings), hooks(settings))
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    server.repository.expect(card.model)
    addresses = await server.start()  # Who asks while it is loaded is told to come back.
    try:
        served = await server.repository.load(card, ModelFiles(found.files))
        _greet(card, served.runtime.name, addresses, found.notes)
        await told.wait()
    finally:
        await server.stop()


def _greet(card: Card, runtime: str, addresses: Addresses, notes: Sequence[str]) -> None:
    here = f"http://{addresses.http}"
    model = f"{here}/v2/models/{card.model}"
    rpc = f", by gRPC at {addresses.grpc}" if addresses.grpc else ""
    print(f"Model '{card.model}' ({runtime}) answers at {here}{rpc}; stop it with Ctrl-C.")
    print(f"Ask it:    curl -s {model}/example | curl -s -d @- {model}/infer")
    print(f"Try it:    {here}/docs", flush=True)
    for note in notes:
        print(f"Note:      {note}", flush=True)


def find(model: Path, scratch: Path) -> Found:
    """The version that a path names; what must be made of it first is written into ``scratch``.

    Raises:
        UsageError: it names none.
        JobError: it is a run that cannot be read.
        ModelError: it cannot be run.
        ArchiveError: it is an exported version that is damaged.
    """
    if (model / CARD).is_file():
        return _unpacked(model)
    if model.is_dir():
        return _made(model, None, scratch)
    if not model.is_file():
        raise UsageError(f"There is no {model}; name an ONNX file, an exported version, a run's folder, or its model.")
    if is_zipfile(model):
        return _exported(model, scratch)
    if model.suffix == ".onnx":
        return _bare(model, scratch)
    if model.suffix != ".safetensors":
        raise UsageError(f"{model} is neither an ONNX file nor a safetensors file, and no version that was exported.")
    if not (model.parent / JOB).is_file():
        raise UsageError(f"{model} holds numbers only; put the {JOB} beside it that says what they are.")
    return _made(model.parent, model, scratch)


def _exported(archive: Path, scratch: Path) -> Found:
    from fogline.registry.archive import unpack_version

    card = unpack_version(archive, scratch)
    return _in_blobs(card, scratch)


def _in_blobs(card: Card, folder: Path) -> Found:
    return Found(card, {asset.digest: folder / BLOBS / asset.digest for asset in card.files()})


def _bare(graph: Path, scratch: Path) -> Found:
    from fogline.inference.runtimes.initializers import beside
    from fogline.inference.runtimes.onnx import card_of_onnx
    from fogline.params import write_arrays
    from fogline.storage.files import hash_file

    weights = beside(graph)
    card = card_of_onnx(graph, weights)
    assert card.graph is not None
    files = {card.graph.digest: graph}
    if weights:
        path = scratch / "weights.safetensors"
        write_arrays(path, weights)
        card = msgspec.structs.replace(card, weights=Asset(*hash_file(path)))
        files[card.assets()["weights"].digest] = path
    return Found(card, files)


def _unpacked(folder: Path) -> Found:
    path = folder / CARD
    if path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is too large for a card.")
    return _in_blobs(read_card(path.read_bytes()), folder)


def _made(run: Path, weights: Path | None, scratch: Path) -> Found:
    """Package a run, in a process of its own: what trained it takes memory that serving it does not need."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as other:
        return other.submit(_package, run, weights, scratch).result()


def _package(run: Path, weights: Path | None, scratch: Path) -> Found:
    from fogline.inference.card import Code
    from fogline.inference.exits import wanted_of
    from fogline.inference.package import PackageOptions, package
    from fogline.jobs.files.reading import read_job
    from fogline.jobs.job import model_name
    from fogline.jobs.loading import load_task
    from fogline.monitoring.run_files import RunFiles, read_model

    kept = RunFiles(run)
    if weights is None:
        result = kept.load()
        job, params = result.job, result.params
    else:
        job, params = read_job(run / JOB), read_model(weights)
    home = (kept.task_folder() if kept.info.exists() else None) or run
    task = load_task(job, home)
    code = Code(job.task, dict(job.task_parameters), seed=job.seed)
    options = PackageOptions(code=code, outputs=job.publish.exits, exits=wanted_of(job.publish))
    made = package(task, params, scratch, model_name(job), options)
    return Found(made.card, made.files, str(home), made.notes)


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, ModelName)
    except msgspec.ValidationError:
        raise UsageError(f"A model cannot be called '{name}': use letters, digits, dots and dashes.") from None
