"""How a server runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.registry.release import NodeKind

Positive = Annotated[int, Meta(ge=1, le=2**31)]
Seconds = Annotated[float, Meta(gt=0.0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a server is told when it starts: addresses, limits and choices."""

    listen: str = "127.0.0.1:0"
    """HTTP; port 0 takes a free one."""
    grpc: str = "127.0.0.1:0"
    """gRPC; empty for none."""
    tier: NodeKind = "device"
    """Who answers, for those who ask."""
    threads: Positive = 1
    """Of a model's own."""
    only: str = ""
    """The runtime to use; empty: the fastest."""
    variants: bool = False
    """Whether one with fewer bits may be used."""
    largest: Positive = 16 << 20
    """Bytes of the largest request."""
    deadline: Seconds = 30.0
    """For a request to come in, and then for its answer."""
    concurrent: Positive = 256
    """Requests that wait for an answer at a time; more are told to come back."""
    connections: Positive = 512
    """Open at a time."""
    max_batch: Positive = 32
    """Examples of several requests that are run as one."""
    control: bool = False
    """Whether clients may load and unload models."""
    pulse: Seconds = 5.0
    """Between two reports of how versions fare."""
    consent: bool = False
    """Whether samples may leave this machine, for a tier above to answer them;"""
    patience: Seconds = 0.3
    """how long that may take."""
    samples: str = ""
    """Folder where hard samples are kept for labelling; empty: none are."""
    samples_bytes: int = 64 << 20
    """Of all together."""
    code: str = ""
    """Folder with the task's code, for models that only PyTorch can run."""
