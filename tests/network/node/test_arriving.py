"""Models that come as differences: whatever is wrong with them, the node has what its parent announced, or says so."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fogline.network.node.participation.arriving import Arrivals
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import Blob, Difference
from fogline.network.worker.client import WorkerError
from fogline.network.worker.requests import ModelWritten, RestoreModel
from fogline.nodes.versions import DIFFERENCE
from fogline.storage import BlobRef, open_blobs

LARGE = 1 << 16


def blob(text: str, inside: bool = False) -> Blob:
    data = text.encode() if inside else text.encode().ljust(LARGE)
    return Blob(hashlib.sha256(data).hexdigest(), len(data), data if inside else b"")


class Bench:
    """A node whose parent has some blobs, and whose worker adds texts up."""

    def __init__(self, folder: Path, *there: str) -> None:
        blobs = open_blobs(folder / "blobs", reserve=0)
        self.store = ValueStore(blobs, open_blobs(folder / "small", reserve=0), folder / "drafts")
        self.fetched: list[str] = []
        self.broken = False
        parents = {blob(text).digest: text for text in there}

        async def fetch(wanted: Blob) -> None:
            if not blobs.has(wanted.digest):
                self.fetched.append(parents.get(wanted.digest, "?"))
                if wanted.digest not in parents:
                    raise LookupError("it is gone")
                blobs.put(parents[wanted.digest].encode().ljust(LARGE))

        async def ask(request: RestoreModel, _: Any) -> ModelWritten:
            if self.broken:
                raise WorkerError("it ended")
            texts = [Path(path).read_text().strip() for path in (request.held, *request.differences)]
            Path(request.model).write_bytes("".join(texts).encode().ljust(LARGE))
            return ModelWritten()

        node = SimpleNamespace(value_store=self.store, uplink=SimpleNamespace(fetch=fetch), name="device")
        self.arrivals = Arrivals(cast("Any", node), cast("Any", SimpleNamespace(ask=ask)))

    def held(self, text: str) -> dict[str, BlobRef]:
        """Version 0 of that content."""
        digest = self.store.blobs.put(text.encode().ljust(LARGE))
        value = BlobRef(digest, LARGE, "model")
        self.store.keep(value)
        return {"cloud@0": value}

    def take(self, model: Blob, held: dict[str, BlobRef], *differences: Blob) -> str:
        told = [Difference(f"cloud@{place}", one) for place, one in enumerate(differences, 1)]
        value = asyncio.run(self.arrivals.take(model, "model", True, told, held))
        assert value.digest == model.digest
        return Path(self.store.path(value)).read_text().strip()


@pytest.mark.parametrize("inside", [False, True])
def test_a_model_is_what_differences_lead_to(inside: bool, tmp_path: Path) -> None:
    bench = Bench(tmp_path, "+1", "+2")
    held = bench.held("0")
    assert bench.take(blob("0+1+2"), held, blob("+1"), blob("+2", inside)) == "0+1+2"
    assert bench.fetched == (["+1"] if inside else ["+1", "+2"])
    assert not bench.store.holds(blob("+1").digest, LARGE)  # Nobody needs it any more.
    assert bench.store.holds(held["cloud@0"].digest, LARGE)


@pytest.mark.parametrize("trouble", ["another base", "no base", "a difference is gone", "the worker ends"])
def test_what_differences_cannot_give_comes_whole(trouble: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, "0+1", *([] if trouble == "a difference is gone" else ["+1"]))
    held = {} if trouble == "no base" else bench.held("x" if trouble == "another base" else "0")
    bench.broken = trouble == "the worker ends"
    assert bench.take(blob("0+1"), held, blob("+1")) == "0+1"
    assert bench.fetched[-1] == "0+1"


def test_what_cannot_be_had_at_all_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(LookupError, match="it is gone"):
        bench.take(blob("0+1"), {}, blob("+1"))
    with pytest.raises(LookupError, match="not what was announced"):
        bench.take(Blob("0" * 64, 5, b"other"), {})


def test_who_hands_differences_on_keeps_those_that_came_with_messages(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    old, new = blob("+1", inside=True), blob("+2", inside=True)
    first = bench.arrivals.handed_on([Difference("cloud@1", old)], {})
    told = [Difference("cloud@1", Blob(old.digest, old.size)), Difference("cloud@2", new)]
    then = bench.arrivals.handed_on(told, first)
    assert [value.data for value in then.values()] == [b"+1", b"+2"]
    assert list(then) == [f"cloud@{version}{DIFFERENCE}" for version in (1, 2)]
