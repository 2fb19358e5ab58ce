"""``fogline jobs clone`` and ``resume``: a job of the cloud once more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fogline.cli.connection import asked, check_role, operator_folder
from fogline.cli.options import OPERATOR, Many, OperatorOptions
from fogline.cli.telling import tell
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud import cloning
from fogline.network.cloud.client import Client
from fogline.network.cloud.folder import SIGNING
from fogline.network.cloud.records import Record


def clone(job: str, /, *, set: Many = (), signed_by: str = "", operator: OperatorOptions = OPERATOR) -> None:
    """Submit a job of the cloud again, with the same code, signed with your key.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    set
        Change a key of the job: --set rounds=20. May be given several times.
    signed_by
        The key that signed its code, where that is not yours: you sign it, too, and answer for it.
    """
    _again(cloning.clone, job, set, signed_by, operator)


def resume(job: str, /, *, set: Many = (), signed_by: str = "", operator: OperatorOptions = OPERATOR) -> None:
    """Go on with a job that ended early, as a new job, signed with your key: it begins with the version that the old
    one left (jobs stop --publish), and makes the rounds that are missing.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    set
        Change a key of the job: --set rounds=20. May be given several times.
    signed_by
        The key that signed its code, where that is not yours: you sign it, too, and answer for it.
    """
    _again(cloning.resume, job, set, signed_by, operator)


def _again(
    how: Callable[[Client, str, SigningKey, Sequence[str], str], Awaitable[Record]],
    job: str,
    changes: tuple[str, ...],
    signed_by: str,
    operator: OperatorOptions,
) -> None:
    check_role(operator.folder, "Operator/Submit")
    key = SigningKey.load(operator_folder(operator.folder) / SIGNING)
    record = asked(operator.folder, lambda client: how(client, job, key, changes, signed_by))
    state = record.why if record.state == "waiting" else "in the queue"
    tell(f"Job {record.job} is {state}, signed by {key.signer.name}.")
    print(f"Follow it: fogline jobs watch {record.job}")
