"""What a developer signs of a job: its description, its task and a hash of every file of its code."""

from __future__ import annotations

import hashlib
import re
import tomllib

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import BundleError, SignatureError
from fogline.governance.signatures.signing import Signer, verify_own

PAYLOAD_TYPE = "application/vnd.fogline.bundle+json"
FORMAT = 1
LARGEST_JOB = 64 * 1024
LONGEST_LINE = 2000
"""A key of 30,000 parts, which stands in one line, would keep the TOML parser busy for 20 seconds."""
TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}:[A-Za-z_][A-Za-z0-9_.]{0,99}", re.ASCII)


class FileFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the manifest says of a file."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the developer signed of a job: its description, its task and a hash of every file."""

    format: int
    job: str
    """The job, as TOML."""
    task: str
    """The task that the job names: ``module:attribute``."""
    files: dict[str, FileFacts]
    signer: Signer
    created: float
    """Unix time, as the developer's clock had it."""

    @property
    def code(self) -> str:
        """SHA-256 over the files' names and hashes, in hexadecimal: the same code in two jobs has the same one."""
        named = [[name, facts.sha256] for name, facts in sorted(self.files.items())]
        return hashlib.sha256(msgspec.json.encode(named)).hexdigest()


def read_manifest(envelope: bytes) -> Manifest:
    """The manifest in an envelope, if the signer that it names has signed it.

    Raises:
        BundleError: it cannot be read, somebody else signed it, or it contradicts its job.
    """
    try:
        manifest = verify_own(envelope, PAYLOAD_TYPE, _decode, lambda claim: claim.signer)
    except SignatureError as error:
        raise BundleError(f"The bundle's manifest cannot be trusted: {error}") from None
    if manifest.format != FORMAT:
        raise BundleError(f"The bundle has format {manifest.format}; this version of Fogline reads {FORMAT}.")
    # The policy judges the task; the job must not run another one.
    if manifest.task != task_of(manifest.job):
        raise BundleError("The bundle's manifest names another task than its job.")
    return manifest


def _decode(payload: bytes) -> Manifest:
    try:
        return msgspec.json.decode(payload, type=Manifest)
    except UNREADABLE:
        raise BundleError("The bundle's manifest cannot be read.") from None


def task_of(job_toml: str) -> str:
    """The task that a job (TOML) names.

    Raises:
        BundleError: the job is too long, no TOML, or names none.
    """
    if len(job_toml) > LARGEST_JOB:
        raise BundleError(f"The job has {len(job_toml)} characters; a bundle carries at most {LARGEST_JOB}.")
    if any(len(line) > LONGEST_LINE for line in job_toml.split("\n")):
        raise BundleError(f"The job has a line of more than {LONGEST_LINE} characters; a bundle carries shorter ones.")
    try:
        task = tomllib.loads(job_toml).get("task")
    except (tomllib.TOMLDecodeError, RecursionError):
        raise BundleError("The job in the bundle is not valid TOML.") from None
    if not isinstance(task, str) or TASK.fullmatch(task) is None:
        raise BundleError('The job in the bundle must name its task as task = "module:attribute".')
    return task
