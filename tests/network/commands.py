"""The real command in processes of its own, as people use it in several terminals."""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from fogline.network.worker.forks import VARIABLE
from tests import warm
from tests.patience import PATIENCE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MAIN = "fogline.cli:main"
JOB = """
name = "toy"
task = "small:task"
rounds = 3
[local]
learning_rate = 0.1
batch_size = 5
[task_parameters]
clients = 4
[publish]
at_least = 2
[tree.cloud]
[tree.fog]
count = 2
"""


@dataclass
class Terminal:
    """Runs ``fogline`` in a folder. Every process below it bears a mark, so that none can hide."""

    folder: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "small.py", self.folder)
        (self.folder / "job.toml").write_text(JOB)

    def run(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """To its end."""
        with TemporaryFile("w+") as stdin, TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
            stdin.write(given or "")
            stdin.seek(0)
            program = warm.start(MAIN, arguments, self._env(), stdout, stderr, stdin, self.folder)
            status = program.wait(PATIENCE)
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(arguments, status, stdout.read(), stderr.read())

    def ok(self, *arguments: str, given: str | None = None) -> str:
        """To its end, which must be a good one; what it printed."""
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str, given: str | None = None) -> str:
        """To its end, which must be a bad one; the sentence."""
        done = self.run(*arguments, given=given)
        assert done.returncode in (1, 2), done.stdout + done.stderr
        assert done.stderr.startswith("fogline: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def start(self, *arguments: str) -> Program:
        """In the background."""
        return Program(
            subprocess.Popen(
                self._argv(arguments), cwd=self.folder, env=self._env(), text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0, process_group=0,
            )
        )  # fmt: skip

    def left(self) -> list[int]:
        """Processes that run."""
        found: list[int] = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # It has ended meanwhile, or is another user's.
        return found

    def left_after(self, seconds: float) -> list[int]:
        """Processes that still run after so long, or none at all."""
        end = time.monotonic() + seconds
        while self.left() and time.monotonic() < end:
            time.sleep(0.1)
        return self.left()

    def token(self, *options: str) -> str:
        """A token, as ``fogline token create`` prints it."""
        words = self.ok("token", "create", *options).split()
        return words[words.index("--token") + 1]

    def signer(self) -> str:
        """The operator's line for policies."""
        line = self.ok("token", "create")
        return line.partition("--trust '")[2].rpartition("'")[0]

    def door(self) -> str:
        """Where one joins."""
        return self.ok("token", "create").split()[2]

    def _argv(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "fogline", *arguments]

    def _env(self) -> dict[str, str]:
        paths = [str(ROOT / "src"), str(ROOT)]
        # Not ``FOGLINE_FORKS``: workers that are forked from the tests' parent would not bear the mark.
        known = {name: value for name, value in os.environ.items() if name != VARIABLE}
        return {**known, "PYTHONPATH": os.pathsep.join(paths), "MARK": self.mark, "COLUMNS": "200"}


class Program:
    """A program in the background."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def until(self, text: str, seconds: float = PATIENCE) -> str:
        """Wait until it has said that; everything it said."""
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        while text not in self.said:
            left = end - time.monotonic()
            readable = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            more = os.read(self.process.stdout.fileno(), 1 << 16).decode() if readable else ""
            assert more, f"{text!r} was not said: {self.said}"
            self.said += more
        return self.said

    def end(self, number: int = signal.SIGINT) -> int:
        """Signal it and wait; its status."""
        self.process.send_signal(number)
        return self.wait()

    def interrupt(self) -> int:
        """What Ctrl-C in a terminal does: a signal to it and to every process that it has started; its status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; its status."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        self.said += said
        return self.process.returncode
