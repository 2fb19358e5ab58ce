"""Whether this machine can run a lab, and how."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from fogline.lab.tun import DEVICE

PROGRAMS = ("ip", "nsenter", "unshare", "mount", "sh")
INSTEAD = "fogline.lab.FaultProxy needs neither root nor namespaces"


def why_not(rootless: bool | None = None) -> str | None:
    """Why no lab can run here, in one sentence; None if one can.

    Args:
        rootless: in a user namespace, without root's rights; None: if this process is not root's.
    """
    if not sys.platform.startswith("linux"):
        return f"A lab needs Linux; {INSTEAD}."
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"A lab needs the program '{missing[0]}' (packages iproute2 and util-linux); {INSTEAD}."
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"A lab needs {DEVICE}, which is not there or not open to this user; {INSTEAD}."
    if needs_user_namespace(rootless):
        return _user_namespaces()
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0:
        return f"A lab needs network namespaces, and this machine refuses them; {INSTEAD}."
    return None


def needs_user_namespace(rootless: bool | None) -> bool:
    """Whether the lab has to get its rights from a user namespace."""
    return os.geteuid() != 0 if rootless is None else rootless


def _user_namespaces() -> str | None:
    trial = subprocess.run(["unshare", "-Urn", "true"], capture_output=True, text=True, check=False)
    if trial.returncode == 0:
        return None
    said = trial.stderr.strip() or f"code {trial.returncode}"
    return f"A lab without root needs user namespaces, which this machine refuses ({said}); run as root, or {INSTEAD}."
