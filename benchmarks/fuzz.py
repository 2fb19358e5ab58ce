"""Bytes from outside: everything that decodes them, fed with damaged ones.

``python -m benchmarks.fuzz [--inputs 1000000] [--only frames,chunks] [--seed 0]``

Every target takes valid examples, mutates them with knowledge of their structure (fields replaced, types swapped,
numbers made absurd, bytes flipped, cut, doubled, spliced), and checks that the decoder answers with a value or with
the error that it promises, within bounds of time and memory. Anything else is a finding: it is printed with what is
needed to repeat it, and the program ends with status 1.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common import report

SECONDS = 2.0
"""One input may take at most that much of the processor: a wall clock would blame it for what others do."""
GROWTH = 256 << 20
"""Bytes by which the peak of the process may grow over a target's inputs."""
ABSURD: tuple[Any, ...] = (
    -1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), 0.5, -1e308, float("nan"), float("inf"), True, None, "",
    "\x00", "a" * 300, "é\u202e", "../../etc/passwd", b"", b"\xff" * 40, [], {}, [[]], {"type": "Said"}, "0" * 64,
)  # fmt: skip
Example = bytes


@dataclass(frozen=True)
class Target:
    """Something that decodes."""

    examples: list[Example]
    decode: Callable[[bytes], object]
    refuses: tuple[type[BaseException], ...]
    """What it says of bad bytes."""
    packed: Callable[[bytes], Any] | None = msgspec.msgpack.decode
    """Opens an example, where its structure can be mutated too; the mutated structure is packed by ``pack``."""
    pack: Callable[[Any], bytes] = msgspec.msgpack.encode
    share: float = 1.0
    """Of the inputs; slow decoders get less."""


def mutated(rng: random.Random, target: Target, examples: list[Example]) -> bytes:
    """One input."""
    data = rng.choice(examples)
    if target.packed is not None and rng.random() < 0.6:
        try:
            return target.pack(bent(rng, target.packed(data)))
        except (msgspec.MsgspecError, OverflowError, TypeError, ValueError, RecursionError):
            pass  # Not everything absurd can be written down.
    return damaged(rng, data, rng.choice(examples))


def bent(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """The structure with something absurd somewhere in it."""
    if depth > 8 or rng.random() < 0.12:
        return rng.choice(ABSURD)
    if isinstance(value, dict) and value:
        made = dict(value)
        key = rng.choice(list(made))
        how = rng.random()
        if how < 0.1:
            del made[key]
        elif how < 0.2:
            made[rng.choice(["type", "x", "job", key * 2 if isinstance(key, str) else "y"])] = rng.choice(ABSURD)
        else:
            made[key] = bent(rng, made[key], depth + 1)
        return made
    if isinstance(value, list) and value:
        made = list(value)
        place = rng.randrange(len(made))
        made[place] = bent(rng, made[place], depth + 1)
        return made * rng.choice((1, 1, 1, 2, 50)) if rng.random() < 0.2 else made
    if isinstance(value, (str, bytes)) and value and rng.random() < 0.5:
        return value[: rng.randrange(len(value))] + value[rng.randrange(len(value)) :]
    return rng.choice(ABSURD)


def damaged(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The bytes with some of them wrong."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not made:
            break
        place = rng.randrange(len(made))
        match rng.randrange(8):
            case 0:
                made[place] ^= 1 << rng.randrange(8)
            case 1:
                made[place] = rng.choice((0, 0x7F, 0x80, 0xFF, 0xC1, 0xDD, 0xDF, 0xC6, 0xDB))
            case 2:
                del made[place:]
            case 3:
                del made[place : place + rng.randrange(1, 9)]
            case 4:
                made[place:place] = rng.randbytes(rng.randrange(1, 9))
            case 5:
                made[place : place + 8] = rng.choice((b"\xff" * 8, b"\x00" * 8, (2**62).to_bytes(8, "little")))
            case 6:
                made[place:] = other[rng.randrange(len(other) + 1) :]
            case _:
                made[place:place] = made[place : place + rng.randrange(1, 65)]
    return bytes(made)


class Hung(Exception):  # noqa: N818
    """An input took too long."""


def _alarm(_: int, __: Any) -> None:
    raise Hung


def fuzz(name: str, target: Target, count: int, seed: int) -> dict[str, Any]:
    """Feed one target; figures and findings."""
    rng = random.Random(f"{seed}/{name}")
    for example in target.examples:
        target.decode(example)  # Else the fuzzing would only ever see refusals.
    accepted, slowest, findings = 0, 0.0, []
    gc.collect()
    before, start = _peak(), time.perf_counter()
    for number in range(count):
        data = mutated(rng, target, target.examples)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            target.decode(data)
            accepted += 1
        except target.refuses:
            pass
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            findings.append(
                {"input": number, "error": f"{type(error).__name__}: {error}"[:300], "data": data[:400].hex()}
            )
            if len(findings) >= 20:
                break
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - began)
    growth = _peak() - before
    if growth > GROWTH:
        findings.append({"input": -1, "error": f"the process grew by {growth >> 20} MiB"})
    return {
        "inputs": count,
        "accepted": accepted,
        "slowest_s": round(slowest, 4),
        "growth_mib": growth >> 20,
        "seconds": round(time.perf_counter() - start, 1),
        "findings": findings,
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(inputs: int, only: list[str], seed: int, folder: Path) -> dict[str, Any]:
    """All targets, or some."""
    from benchmarks.fuzz_targets import targets

    signal.signal(signal.SIGPROF, _alarm)
    chosen = {name: target for name, target in targets(folder).items() if not only or name in only}
    whole = sum(target.share for target in chosen.values())
    results: dict[str, Any] = {}
    for name, target in chosen.items():
        results[name] = fuzz(name, target, max(1, round(inputs * target.share / whole)), seed)
        print(name, results[name], file=sys.stderr, flush=True)
    return {
        "inputs": sum(result["inputs"] for result in results.values()),
        "findings": sum(len(result["findings"]) for result in results.values()),
        "slowest_s": max(result["slowest_s"] for result in results.values()),
        "targets": results,
    }


def names(text: str) -> Iterator[str]:
    yield from (name for name in text.split(",") if name)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-save", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        result = run(asked.inputs, list(names(asked.only)), asked.seed, Path(folder))
    report("fuzz", result, keep=not asked.no_save)
    sys.exit(1 if result["findings"] else 0)


if __name__ == "__main__":
    main()
