"""The ``fogline`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from fogline.cli.commands import cloud, jobs, lab, lists, member, models, nodes, serve, simulation, up
from fogline.cli.output import guarded_output

EPILOGUE = "A first run: fogline simulate job.toml. On real processes: fogline up job.toml. --help tells more."

app = App(
    name="fogline",
    help="Federated learning across a cloud, fog nodes and devices.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    version=lambda: _version(),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for commands in (simulation, up, serve, jobs, nodes, models, cloud, member, lab, lists):
    commands.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry of the ``fogline`` command: exits with 2 for wrong input, 1 for a failed run, 130 after Ctrl-C, 141
    where nobody reads what it prints any more.

    Args:
        arguments: what stands after ``fogline``; the process's own if None.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # What gRPC has to say, our errors say in sentences.
    with guarded_output():
        try:
            app(sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False, print_error=False)
        except CycloptsError as error:
            print(f"fogline: {str(error).strip()} (fogline --help lists what there is)", file=sys.stderr)
            raise SystemExit(2) from None


def _version() -> str:
    from importlib.metadata import version

    return f"fogline {version('fogline')}"
