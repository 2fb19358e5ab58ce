"""What decodes bytes from outside, with examples of what it should take: see :mod:`benchmarks.fuzz`."""

from __future__ import annotations

import struct
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zstandard
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from benchmarks.fuzz.target import Target
from fogline.aggregation import UnusableUpdateError, Update, fold_named
from fogline.algorithms.group import Down
from fogline.compute.effects import CarriedOut, CarryOut, Sift
from fogline.compute.files import read_model, read_update, write
from fogline.compute.messages import NONE, Message
from fogline.governance.bundles.bundle import open_bundle, pack
from fogline.governance.errors import TrustError
from fogline.governance.identity.authority import Authority, key_of_request
from fogline.governance.identity.certificates import check_issued, read_certificate
from fogline.governance.identity.identity import Identity
from fogline.governance.identity.revocation import Revocations
from fogline.governance.identity.tokens import create_token, read_token
from fogline.governance.policy.offers import Needs
from fogline.governance.signatures.envelope import parse_envelope, seal
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Subject
from fogline.network.cloud.requests import NewToken, Submit
from fogline.network.node.node import DOWN, UP
from fogline.network.transport import messages as c
from fogline.network.transport.chunks import ChunkError, unpacked
from fogline.network.worker import requests as w
from fogline.nodes.effects import FoldInput, Move, Train
from fogline.nodes.events import Trained
from fogline.nodes.messages import Hello, Receipt, Report, Stop, Work
from fogline.params import write_arrays
from fogline.processes.messages import Decoder, decoder, encode
from fogline.stages import LinkContext, Pipeline, pipeline

DIGEST = "0123456789abcdef" * 4
BLOB = c.Blob(DIGEST, 10, b"0123456789")
JOB = 'name = "toy"\ntask = "small:task"\nrounds = 3\n[tree.cloud]\n'
DECODE = (msgspec.DecodeError,)


def targets(folder: Path) -> dict[str, Target]:
    """All of them; ``folder`` is for files."""
    return {**frames(), **files(folder), **trust(folder)}


def frames() -> dict[str, Target]:
    """Messages."""
    announcement = c.JobAnnouncement("job-1", JOB, BLOB, "[]", BLOB, Needs(), plan={"cloud": ("a", "b")})
    up = [
        c.Present(c.PROTOCOL, address="h:1", jobs=("a",)),
        c.JoinedJob("job", Hello(3, 10, 1.5)),
        c.LeftJob("job", "why"),
        c.NodeMessage("job", Report(1, "cloud#1", 10, 1, 0.5), BLOB),
        c.NodeMessage("job", Receipt(1, True)),
        c.NodeSeen("n", "p", "device", True, address="h:1", instance="a", holds="b"),
        c.HeldRevocations("n", "ab"),
        c.ClonedIdentity("n", "p", "h:1", "h:2"),
        c.NewerTimestamp(b"x"),
        c.Revoked((b"x",)),
        c.JobLog("job", "n", "failed", "n", "why"),
        c.UnknownJobs(("a", "b")),
        c.Leaving(),
    ]
    down = [
        c.Welcome("cloud", (c.ParentAddress("fog", "h:1"),), (b"x",), "ab"),
        c.Offer(announcement),
        c.JobEnded("job"),
        c.NodeMessage("job", Work(1, "cloud@1", 1), BLOB),
        c.NodeMessage("job", Stop()),
        c.Revoked((b"x",)),
        c.Parents((c.ParentAddress("fog", "h:1"),)),
    ]
    asked: dict[type, msgspec.Struct] = {
        c.Fetch: c.Fetch(DIGEST),
        c.Push: c.Push(DIGEST, 10, "job", 1),
        c.Enrol: c.Enrol("ab", b"secret", "n", "device", b"csr"),
        c.Renew: c.Renew(b"csr", b"cert", b"sig"),
        Submit: Submit(JOB, BLOB),
        NewToken: NewToken("device"),
    }
    member = FoldInput("u", 1, "a")
    requests = [
        w.Open("f", JOB),
        CarryOut(Train(1, "a", "b", 2), {"a": "f"}, {"b": "g"}, 3),
        CarryOut(Move("a", "b", (member,), False, 1, True), {"a/group": "f", "u": "v"}, {"b": "g"}, 1, 2),
        Sift((member,), {"u": "v"}),
        w.Evaluate("g"),
    ]
    answers = [
        CarriedOut(("a",), trained=Trained(1, "a", 5, 0.5)),
        CarriedOut(refused=((0, "why"),)),
        w.Evaluated({"accuracy": 0.5}),
        w.RequestFailed("why"),
    ]
    made = {
        "up": Target([encode(frame) for frame in up], _sane(UP), DECODE, share=3),
        "down": Target([encode(frame) for frame in down], DOWN.decode, DECODE, share=3),
        "worker-requests": Target([encode(r) for r in requests], w.REQUESTS.decode, DECODE),
        "worker-answers": Target([encode(a) for a in answers], w.ANSWERS.decode, DECODE),
    }
    for kind, example in asked.items():
        made[kind.__name__.lower()] = Target([encode(example)], decoder(kind).decode, DECODE)
    return made


def _sane(decoder: Decoder[Any]) -> Any:
    """Decode a frame, and what is let through must be something that state machines and databases can hold."""
    from fogline.storage.value import check_name, is_digest

    def decode(data: bytes) -> object:
        frame = decoder.decode(data)
        job = getattr(frame, "job", "job")
        check_name(f"job/{job}")
        blob = getattr(frame, "blob", None)
        assert blob is None or (is_digest(blob.digest) and blob.size >= 0)
        message = getattr(frame, "message", None)
        if isinstance(message, Report):
            assert 0 <= message.task < 2**63
            assert message.devices >= 1
            assert message.samples >= 0
            assert message.loss_rms is None or np.isfinite(message.loss_rms)
        hello = getattr(frame, "hello", None)
        assert hello is None or (hello.devices >= 1 and (hello.seconds is None or np.isfinite(hello.seconds)))
        return frame

    return decode


def files(folder: Path) -> dict[str, Target]:
    """Blobs and their pieces."""
    path, rng = folder / "values", np.random.default_rng(0)
    update = Update({"delta": rng.normal(size=12).astype(np.float32)}, {"delta": 2.0}, np.ones(2, np.int64))
    fold = fold_named(False)
    fold.add(update)
    examples: list[bytes] = []
    for value in (update, fold.partial()):
        write(str(path), value)
        examples.append(path.read_bytes())
    write(str(path), Down(rng.normal(size=12).astype(np.float32), np.ones(2, np.int64)))
    down = path.read_bytes()

    int8 = pipeline(("int8",))
    staged: list[bytes] = []
    for value in (update, fold.partial()):
        write_arrays(path, Message.of_update(value).encoded(int8, {}, LinkContext())[0])
        staged.append(path.read_bytes())

    def folded(data: bytes, stages: Pipeline = NONE) -> object:
        path.write_bytes(data)
        fold = fold_named(False)
        fold.add(update)
        fold.take(read_update(str(path), stages=stages), 0.5)
        result = fold.finish()
        assert all(np.isfinite(total).all() for total in result.sums.values())
        return result

    def adopted(data: bytes) -> object:
        path.write_bytes(data)
        return read_model(str(path))

    plain = rng.normal(size=1000).tobytes()
    chunks = [
        b"\x00" + plain,
        b"\x01" + zstandard.compress(b"abc" * 1000),
        b"\x01" + zstandard.compress(bytes(c.CHUNK)),
    ]
    header = {"packed": _header, "pack": _unheader}
    return {
        "update": Target(examples, folded, (UnusableUpdateError,), share=2, **header),
        "staged update": Target(staged, partial(folded, stages=int8), (UnusableUpdateError,), share=1, **header),
        "model": Target([down], adopted, (ValueError,), share=1, **header),
        "chunk": Target(chunks, _bounded, (ChunkError,), packed=None, share=2),
    }


def _bounded(data: bytes) -> object:
    piece = unpacked(data)
    assert 0 < len(piece) <= c.CHUNK
    return piece


def _header(data: bytes) -> Any:
    """A safetensors file as its header and the rest."""
    length = struct.unpack("<Q", data[:8])[0]
    return {"header": msgspec.json.decode(data[8 : 8 + length]), "rest": data[8 + length :]}


def _unheader(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise TypeError("no file")
    header, rest = msgspec.json.encode(value.get("header")), value.get("rest")
    rest = rest if isinstance(rest, bytes) else b""
    return struct.pack("<Q", len(header)) + header + rest


def trust(folder: Path) -> dict[str, Target]:
    """Certificates, tokens, signed things."""
    authority = Authority.create(folder / "authority")
    key = Identity.create_key(folder / "identity")
    request, now = key.csr(), time.time()
    certificate = authority.issue(request, Subject("n", "device"), 30)
    der = load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    revoked = Revocations().adding(now, ["a", "b"]).sign(authority)
    _, token = create_token(authority.root_pem, "device", "main", 1, 3600.0, now)
    envelope = seal("application/x", b"payload", authority.sign)
    (folder / "small.py").write_text("def task():\n    return 1\n")
    bundle = pack(JOB, folder, [folder / "small.py"], SigningKey.create(folder / "developer.key", "dev"), now)
    path = folder / "bundle"

    def opened(data: bytes) -> object:
        path.write_bytes(data)
        return open_bundle(path)

    def pem(data: bytes) -> bytes:
        import base64

        body = base64.encodebytes(data).decode()
        return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n".encode()

    json: dict[str, Any] = {"packed": msgspec.json.decode, "pack": msgspec.json.encode}
    trust = (TrustError,)
    return {
        "certificate": Target([certificate], read_certificate, trust, packed=None, share=0.5),
        "certificate-der": Target([der], lambda data: read_certificate(pem(data)), trust, packed=None, share=0.5),
        "issued": Target(
            [der], lambda data: check_issued(pem(data), authority.root_pem, now), trust, packed=None, share=0.3
        ),
        "request": Target([request], key_of_request, trust, packed=None, share=0.3),
        "token": Target(
            [token.encode()], lambda data: read_token(data.decode("latin-1")), trust, packed=None, share=0.5
        ),
        "revocations": Target(
            [revoked], lambda data: Revocations.verify(data, authority.root_pem), trust, share=0.3, **json
        ),
        "envelope": Target([envelope], lambda data: parse_envelope(data, "application/x"), trust, share=1, **json),
        "bundle": Target([bundle], opened, trust, packed=None, share=0.3),
    }
