"""What a job gives away, found out by attacking it: ``fogline audit leaks``."""

from fogline.audit.findings import Finding, NotApplicableError, Outcome, Rebuilt
from fogline.audit.leaks import LeakReport, audit_leaks
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import AuditSettings, Scene
from fogline.audit.tap import SeenTraining, View

__all__ = [
    "ATTACKS",
    "AuditSettings",
    "Finding",
    "LeakReport",
    "NotApplicableError",
    "Outcome",
    "Rebuilt",
    "Scene",
    "SeenTraining",
    "View",
    "audit_leaks",
]
