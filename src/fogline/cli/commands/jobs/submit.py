"""``fogline jobs submit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fogline.cli.bundling import bundle_of_job
from fogline.cli.commands.jobs.watch import conclude, follow
from fogline.cli.connection import asked, check_role, operator_folder
from fogline.cli.options import OPERATOR, Flag, Many, OperatorOptions
from fogline.cli.telling import tell
from fogline.governance.signatures.signing import SigningKey
from fogline.jobs.files.reading import read_job
from fogline.jobs.protection.promise import promise_of
from fogline.monitoring.human import human_bytes
from fogline.network.cloud.client import Client
from fogline.network.cloud.folder import SIGNING
from fogline.network.cloud.records import Record


def submit(
    job: Path,
    /,
    *,
    set: Many = (),
    send: Annotated[tuple[Path, ...], Parameter(negative="", show_default=False)] = (),
    priority: int = 0,
    planned: Flag = False,
    wait: Flag = False,
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Sign a job with its code, and put it into the cloud's queue.

    Parameters
    ----------
    job
        The job file (TOML). The Python files that its task imports are sent too, if they lie beside it.
    set
        Change a key of the job: --set rounds=20. May be given several times.
    send
        A further file of the job's folder to send.
    priority
        Jobs with a higher one go first.
    planned
        Before the first round, wait for the devices of all clients that the task's data names.
    wait
        Follow the job, and exit with 1 if it fails, with 3 if rounds were lost.
    """
    checked = read_job(job, set)
    place = operator_folder(operator.folder)
    check_role(operator.folder, "Operator/Submit")
    key = SigningKey.load(place / SIGNING)
    text, bundle, files = bundle_of_job(checked, job.parent, send, key)
    names = ", ".join(str(path.relative_to(job.parent)) for path in files) or "no files"
    if promise := promise_of(checked):
        print(promise)
    print(f"Sends {job.name} with {names} ({human_bytes(len(bundle))}), signed by {key.signer.name}.")

    async def ask(client: Client) -> Record:
        record = await client.submit(text, bundle, priority, planned)
        waits = f"is {record.why}" if record.state == "waiting" else "is in the queue"
        tell(f"Job {record.job} {waits}.")
        return await follow(client, record, checked) if wait else record

    record = asked(operator.folder, ask)
    if not wait:
        print(f"Follow it: fogline jobs watch {record.job}")
        return
    conclude(record)
