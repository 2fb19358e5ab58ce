"""A job once more: its signed bundle fetched and opened, signed anew by who wants it, and submitted under a new id."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fogline.governance.bundles.bundle import open_bundle, pack
from fogline.governance.signatures.signing import SigningKey
from fogline.jobs.errors import JobError
from fogline.jobs.files.reading import parse_job
from fogline.jobs.files.writing import job_to_toml
from fogline.network.cloud.client import Client
from fogline.network.cloud.records import Record


async def clone(client: Client, job: str, key: SigningKey, changes: Sequence[str] = (), signed_by: str = "") -> Record:
    """Submit a job again, with the same code: the new job.

    Args:
        client: of the cloud.
        job: its id, or the beginning of it.
        key: of who submits the new one: who it was that signed the old one's code answers for the old one only.
        changes: keys of the job that are other now, as ``rounds=20``.
        signed_by: the key, as ``ed25519:...``, that signed the old one, where that is another: of whose code it is
            there is only the cloud's word, and what is signed here runs wherever the signer is trusted.

    Raises:
        OperatorApiError: there is no such job, its code is not there any more, or the cloud does not answer.
        BundleError: its bundle is not what its signer signed.
        JobError: it is no job with these changes, or its code was signed with a key that is not named here.
    """
    (record,) = await client.jobs(job)
    with tempfile.TemporaryDirectory(prefix="fogline-clone-") as folder:
        path = Path(folder) / "bundle.zip"
        await client.fetch(record.bundle, path)
        text, bundle = await asyncio.to_thread(_signed_anew, path, record.job, key, changes, signed_by)
    return await client.submit(text, bundle, record.priority, record.planned, record.wait)


async def resume(client: Client, job: str, key: SigningKey, changes: Sequence[str] = (), signed_by: str = "") -> Record:
    """Go on with a job that ended early, as a new one: it begins with the version that the old one left, and makes the
    rounds that are missing. What a method keeps beside the model (momentum, control variates) begins anew.

    Args:
        client: of the cloud.
        job: its id, or the beginning of it.
        key, changes, signed_by: see :func:`clone`.

    Raises:
        JobError: it is not over, has made all its rounds, or has left no version.
        OperatorApiError, BundleError: see :func:`clone`.
    """
    (record,) = await client.jobs(job)
    if not record.ended:
        raise JobError(f"Job {record.job} is not over: it is {record.state}, and goes on by itself")
    made = [card for report in await client.models() for card in report.cards if card.lineage.job == record.job]
    if not made:
        raise JobError(
            f"Job {record.job} has left no version of its model to go on from; clone it, so that it begins anew (a job "
            "that is ended with: fogline jobs stop --publish leaves one)"
        )
    last = max(made, key=lambda card: card.version)
    missing = record.rounds - last.lineage.rounds
    if missing <= 0:
        raise JobError(f"Job {record.job} has made all its {record.rounds} rounds; there is nothing to go on with")
    going_on = (f"start={last.model}@{last.version}", f"rounds={missing}")
    return await clone(client, record.job, key, (*going_on, *changes), signed_by)


def _signed_anew(path: Path, job: str, key: SigningKey, changes: Sequence[str], signed_by: str) -> tuple[str, bytes]:
    """The job's text, and a bundle of the same code."""
    opened = open_bundle(path)
    if opened.signer.key not in (key.signer.key, signed_by):
        raise JobError(
            f"The code of job {job} was signed by {opened.signer.name} with another key than yours; if you know it and "
            f"answer for it: fogline jobs clone (or resume) {job} --signed-by {opened.signer.key}"
        )
    text = job_to_toml(parse_job(opened.manifest.job, changes), only_given=True)
    code = opened.unpack(path.parent / "code")
    return text, pack(text, code, [code / name for name in opened.manifest.files], key, time.time())
