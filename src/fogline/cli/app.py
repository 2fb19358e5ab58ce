"""The ``fogline`` command: where each command lives, and how it is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from inspect import BoundArguments

from cyclopts import App, CycloptsError

from fogline.cli.failures import reported, say
from fogline.cli.options import CommonOptions, OperatorOptions
from fogline.cli.output import guarded_output
from fogline.errors import FoglineError, InputError

EPILOGUE = "A first run: fogline simulate job.toml. On real processes: fogline up job.toml. --help tells more."

COMMANDS = {
    "simulate": ("simulation:simulate", "Run a job on simulated devices, in virtual time."),
    "show": ("simulation:show", "Show the result of a finished run."),
    "board": (
        "board:board",
        "Show runs, or a cloud and its tree, in the browser, live.",
    ),
    "contributions": ("contributions:contributions", "Say what each device is worth to a job's model."),
    "compare": ("compare:compare", "Put finished runs side by side: a table and a plot."),
    "audit": ("audit.group:audit", "Attack a job's own settings, and see what leaks."),
    "up": (
        "up.command:up",
        "Run a job on a cloud, fogs and devices that are real processes on this machine, over mutual TLS.",
    ),
    "serve": ("serve:serve", "Answer predictions with a model, by the Open Inference Protocol V2."),
    "jobs": ("jobs.group:jobs", "Jobs on real nodes."),
    "approvals": ("approvals:approvals", "Jobs that wait for the owners of data, and the owners' word."),
    "policy": ("policy:policy", "What an owner lets run: look at it, sign it; and the policy of the whole fleet."),
    "roles": ("roles:roles", "List what people may ask of a cloud, and in which role."),
    "nodes": ("nodes:nodes", "Who is connected, in the whole tree."),
    "models": ("models.group:models", "Versions of models, and which nodes serve them."),
    "cloud": ("cloud:cloud", "The root of a tree: make one, run it."),
    "token": ("token:token", "One-time tokens, with which nodes join."),
    "join": ("join:join", "Become a member: make a key here, and get a certificate for it."),
    "fog": ("member:fog", "A node between the cloud and devices."),
    "device": ("member:device", "A node with data."),
    "data": ("data:data", "What tasks see of a site's tables, and made-up data of the same form."),
    "backup": ("backup:backup", "Write the folder of a cloud, a fog or a device into a file, also while it runs."),
    "restore": ("backup:restore", "Make the folder of a cloud, a fog or a device from a backup."),
    "privacy": ("privacy:privacy", "Noise for a promise, and what data have given away."),
    "lab": ("lab:lab", "Rehearse a deployment: nodes in network namespaces, links that are slow, lossy or cut."),
    "algorithms": (
        "lists:algorithms",
        "List the methods, rules, policies of selection, stages, exchanges, mechanisms of noise and attacks.",
    ),
    "datasets": ("lists:datasets", "List the data sets that Fogline can load, and whether their files are here."),
    "engines": ("lists:engines", "List the training engines of every backend that is installed."),
    "executors": ("lists:executors", "List the executors: where a simulation trains."),
}
"""Commands and groups of commands: where each is, below ``fogline.cli.commands``, and what the help says. One is
imported when it is called: all of them together take seconds."""

app = App(
    name="fogline",
    help="Federated learning across a cloud, fog nodes and devices.",
    help_epilogue=EPILOGUE,
    help_format="markdown",
    version=lambda: _version(),
)
for name, (place, text) in COMMANDS.items():
    app.command(f"fogline.cli.commands.{place}", name=name, help=text)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry of the ``fogline`` command: exits with 2 for wrong input, 1 for a failed run, 130 after Ctrl-C, 141
    where nobody reads what it prints any more.

    Args:
        arguments: what stands after ``fogline``; the process's own if None.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # What gRPC has to say, our errors say in sentences.
    given = sys.argv[1:] if arguments is None else list(arguments)
    with guarded_output():
        try:
            command, bound, _ = app.parse_args(given, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            say(f"fogline: {str(error).strip()} (fogline --help lists what there is)")
            raise SystemExit(InputError.exit_code) from None
        except ImportError as error:
            missing = _missing_package(error)
            if missing is None:
                raise
            say(f"fogline: This command needs {missing}, which is not installed: pip install 'fogline[all]'")
            raise SystemExit(FoglineError.exit_code) from None
        with reported(_wants_traceback(bound)):
            command(*bound.args, **bound.kwargs)


def _wants_traceback(bound: BoundArguments) -> bool:
    return any(given.debug for given in bound.arguments.values() if isinstance(given, CommonOptions | OperatorOptions))


def _missing_package(error: ImportError) -> str | None:
    """Which package of others a command's file could not import; None where something else is wrong with it."""
    cause = error.__cause__
    package = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
    return None if package in ("", "fogline") else package


def _version() -> str:
    from importlib.metadata import version

    return f"fogline {version('fogline')}"
