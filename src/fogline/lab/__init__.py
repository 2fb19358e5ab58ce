"""Rehearse a deployment on one machine: nodes in network namespaces, links that are slow, lossy or cut."""

from fogline.lab.client import parse_changes, send_command
from fogline.lab.errors import LabError
from fogline.lab.here import why_not
from fogline.lab.lab import Lab
from fogline.lab.labfile import LabFile, read_lab
from fogline.lab.leftovers import clean, find_lab, running_labs
from fogline.lab.links.channel import Counters
from fogline.lab.presets import LINK_PRESETS
from fogline.lab.proxy.proxy import FaultProxy
from fogline.lab.running import RunningLab

__all__ = [
    "LINK_PRESETS",
    "Counters",
    "FaultProxy",
    "Lab",
    "LabError",
    "LabFile",
    "RunningLab",
    "clean",
    "find_lab",
    "parse_changes",
    "read_lab",
    "running_labs",
    "send_command",
    "why_not",
]
