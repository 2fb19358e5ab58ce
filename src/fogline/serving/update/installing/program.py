"""The installer process: ``python -m fogline.serving.update.installing.program FD``.

It answers one request and ends. Models and metadata that others made are only read here, so that whatever they do to a
process is done to one that nobody needs.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from fogline.inference.card import Asset, read_card
from fogline.processes.child import channel_to_parent, restrain
from fogline.processes.pipe import BlockingPipe
from fogline.serving.update.installing.requests import (
    REQUESTS,
    Answer,
    Bad,
    CombinePersonal,
    Distrusted,
    FileMissing,
    Here,
    InstallerDone,
    InstallerJob,
    Reconstruct,
    Spoilt,
    Stuck,
    TryVersion,
    Verify,
)
from fogline.serving.update.ports import VerifiedMetadata

Source = Callable[[str, int], bytes | None]


def verify(request: Verify, source: Source) -> Answer:
    """Which releases the newest metadata names."""
    from fogline.registry.trust.results import UntrustedReleaseError
    from fogline.registry.trust.signing import MetadataError
    from fogline.registry.trust.verify import Verifier

    folder = Path(request.folder)
    try:
        verified = Verifier(folder, _root(folder, request.authority, source)).verify(source)
    except UntrustedReleaseError as error:
        return Distrusted(error.kind, str(error))
    except MetadataError as error:
        return Distrusted("tampered", str(error))
    expires = min(verified.expires, verified.targets_expires)
    return VerifiedMetadata(verified.releases, verified.approved, expires, verified.root)


def _root(folder: Path, authority: bytes, source: Source) -> bytes:
    """The first root of releases, signed by the fleet's authority; only a node that trusts none yet asks for it.

    Raises:
        UntrustedReleaseError: there is none.
        MetadataError: the authority did not sign it.
    """
    from fogline.registry.trust.binding import BINDING, bound_root
    from fogline.registry.trust.names import LARGEST_METADATA
    from fogline.registry.trust.results import UntrustedReleaseError, read_trusted

    trusted = read_trusted(folder)
    if trusted is not None:
        return trusted.root
    binding = source(BINDING, LARGEST_METADATA)
    if binding is None:
        raise UntrustedReleaseError("unreadable", "The parent has no signed releases (yet).")
    return bound_root(binding, authority)


def reconstruct(request: Reconstruct) -> Answer:
    """Write the weights that a difference makes of others, if they are those that the card names."""
    from fogline.codecs.deltas import DeltaError, apply
    from fogline.params import load, to_bytes

    try:
        data = to_bytes(apply(request.codec, load(Path(request.base)), Path(request.delta).read_bytes()))
    except (DeltaError, ValueError) as error:
        return Bad(str(error))
    if hashlib.sha256(data).hexdigest() != request.expected.digest:
        return Bad("the difference gives other weights than those that the card names")
    Path(request.out).write_bytes(data)
    return InstallerDone()


def combine(request: CombinePersonal) -> Answer:
    """Write the model of this device: a version, with what the device has of its own."""
    from fogline.inference import personal
    from fogline.inference.runtimes.base import ModelError

    try:
        personal.combine(Path(request.weights), Path(request.part), Path(request.out))
    except (ModelError, ValueError) as error:
        return Bad(str(error))
    return InstallerDone()


def trial(request: TryVersion) -> Answer:
    """Check the files and make them durable; load the version and put its golden samples to it, in every runtime that
    a server might choose."""
    card = read_card(request.card)
    spoilt = tuple(digest for digest, path in request.paths.items() if not _settled(Path(path), digest))
    if spoilt:
        return Spoilt(spoilt)

    from fogline.inference.golden import check
    from fogline.inference.runtimes.base import ModelError
    from fogline.inference.runtimes.choose import open_runtime

    def locate(asset: Asset) -> Path:
        return Path(request.paths[asset.digest])

    code = None if request.code is None else Path(request.code)
    try:
        chosen = open_runtime(card, locate, variants=request.variants, code=code)
        check(card, chosen.runtime, locate)
        for name in chosen.timings.keys() - {chosen.runtime.name}:
            check(card, open_runtime(card, locate, only=name, code=code).runtime, locate)
    except ModelError as error:
        return Bad(str(error))
    return InstallerDone(chosen.runtime.name)


def _settled(path: Path, digest: str) -> bool:
    """Whether a file is what it should be; it survives a power cut from now on."""
    try:
        with path.open("rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == digest
            os.fsync(file.fileno())
            return right
    except FileNotFoundError:
        return False


def answer(job: InstallerJob, source: Source) -> Answer:
    """Carry the request out."""
    from fogline.storage import StorageError  # What it says is a sentence already.

    request = job.request
    try:
        if isinstance(request, Verify):
            return verify(request, source)
        if isinstance(request, CombinePersonal):
            return combine(request)
        return reconstruct(request) if isinstance(request, Reconstruct) else trial(request)
    except (OSError, StorageError) as error:
        return Stuck(str(error))
    except MemoryError:
        return Bad("it needs more memory than it may take here")
    except Exception as error:  # noqa: BLE001 - foreign code, in a process of its own: whatever it raises is its fault
        return Bad(f"{type(error).__name__}: {error}")


def main() -> None:
    """The program."""
    with channel_to_parent() as channel:
        pipe = BlockingPipe(channel, REQUESTS)
        requests = iter(pipe)

        def source(name: str, largest: int) -> bytes | None:
            pipe.answer(FileMissing(name, largest))
            here = next(requests, None)
            if not isinstance(here, Here):
                sys.exit(1)  # The agent is gone.
            return here.data

        job = next(requests, None)
        if isinstance(job, InstallerJob):
            restrain(job.niceness, job.memory)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            pipe.answer(answer(job, source))


if __name__ == "__main__":
    main()
