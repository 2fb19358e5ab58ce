"""A helper process for tests: ``python -m tests.processes.helper FD``."""

from __future__ import annotations

import os
import signal
import time

import msgspec

from fogline.processes.child import channel_to_parent, restrain
from fogline.processes.messages import Decoder, decoder
from fogline.processes.pipe import BlockingPipe

MEMORY = 1 << 28


class Do(msgspec.Struct, frozen=True, tag=True):
    """What it does."""

    what: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """What became of it."""

    said: str


REQUESTS: Decoder[Do] = decoder(Do)
ANSWERS: Decoder[Done] = decoder(Done)


def main() -> None:
    """The program."""
    with channel_to_parent() as channel:
        pipe = BlockingPipe(channel, REQUESTS)
        for request in pipe:
            match request.what:
                case "threads":
                    pipe.answer(Done(os.environ["OMP_NUM_THREADS"]))
                case "print":
                    print("printed", flush=True)
                    pipe.answer(Done(""))
                case "interrupt":
                    os.kill(os.getpid(), signal.SIGINT)
                    pipe.answer(Done("alive"))
                case "exit":
                    os._exit(3)
                case "abort":
                    os.abort()
                case "forge":
                    channel.sendall(b"\xff" * 64)
                case "hoard":
                    restrain(1, MEMORY)
                    try:
                        bytearray(4 * MEMORY)
                    except MemoryError:
                        pipe.answer(Done(f"no memory, niceness {os.nice(0)}"))
                case "linger":
                    channel.shutdown(2)
                    time.sleep(600)
                case _:
                    time.sleep(600)


if __name__ == "__main__":
    main()
