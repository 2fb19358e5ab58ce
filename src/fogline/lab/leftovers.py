"""Finding running labs, and removing what dead ones left."""

from __future__ import annotations

import os
import re
import shutil

from fogline.lab.errors import LabError
from fogline.lab.namespaces import NAMED, kill, remove_named
from fogline.lab.running import RunningLab
from fogline.lab.state import PREFIX, Facts, labs_folder, programs, read_facts, started

NAMESPACE = re.compile(rf"({PREFIX}(\d+)-[0-9a-f]{{6}})-.+")


def running_labs() -> list[RunningLab]:
    """This user's labs that are ready, by name."""
    found: list[RunningLab] = []
    for folder in sorted(labs_folder().iterdir()):
        facts = read_facts(folder)
        if facts is not None and facts.namespaces and facts.emulator.alive():
            found.append(RunningLab(facts))
    return found


def find_lab(name: str | None = None) -> RunningLab:
    """The running lab of that name, or the only one.

    Raises:
        LabError: there is none, or more than one and no name; one sentence.
    """
    labs = [lab for lab in running_labs() if name is None or lab.name == name]
    if not labs:
        raise LabError("No lab runs." if name is None else f"No lab '{name}' runs.")
    if len(labs) > 1:
        raise LabError(f"{len(labs)} labs run; say which: {', '.join(lab.name for lab in labs)}.")
    return labs[0]


def clean() -> list[str]:
    """Remove namespaces, programs and files of labs whose owner and emulator are both gone.

    A lab whose owner was killed removes itself; this is for a machine on which its emulator was killed too.
    Of a lab in a user namespace, only programs that ``spawn`` started are found, not what they started.

    Returns:
        The names of the labs removed.
    """
    removed: list[str] = []
    for folder in sorted(labs_folder().iterdir()):
        facts = read_facts(folder)
        dead = not facts.owner.alive() and not facts.emulator.alive() if facts else not _owner_runs(folder.name)
        if dead:
            remove(folder.name, facts)
            removed.append(folder.name)
    return removed + _clean_namespaces()


def remove(name: str, facts: Facts | None) -> None:
    """Remove all of a lab whose emulator is gone."""
    if facts is None or not facts.rootless:
        _remove_namespaces(name)
    folder = labs_folder() / name
    if folder.is_dir():
        for program in programs(folder):
            if program.alive():
                kill(program.pid)
        shutil.rmtree(folder)


def _clean_namespaces() -> list[str]:
    """Those whose folder is gone too, by the owner's number in their name."""
    if os.geteuid() != 0 or not NAMED.is_dir():
        return []
    known = {folder.name for folder in labs_folder().iterdir()}
    found = {match[1]: int(match[2]) for path in NAMED.iterdir() if (match := NAMESPACE.fullmatch(path.name))}
    dead = sorted(name for name, owner in found.items() if name not in known and started(owner) == 0)
    for name in dead:
        _remove_namespaces(name)
    return dead


def _remove_namespaces(name: str) -> None:
    if os.geteuid() == 0:
        remove_named(name)


def _owner_runs(name: str) -> bool:
    """Whether a lab that has written nothing yet may still be starting."""
    match = NAMESPACE.fullmatch(name + "-x")
    return match is not None and started(int(match[2])) != 0
