"""``fogline policy``: look at an owner's policy, sign it, and give the fleet one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cyclopts import App

from fogline.cli.connection import asked, operator_folder
from fogline.cli.failures import UsageError
from fogline.cli.options import COMMON, OPERATOR, CommonOptions, OperatorOptions
from fogline.governance.identity.checked import credentials
from fogline.governance.policy.policy import not_in_force, read_policy
from fogline.governance.policy.signed import sign_policy, signature_of
from fogline.governance.policy.terms import Allowed, Policy
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.folder import OWNER_KEY
from fogline.network.node.fleet_policy import sign_fleet_policy

policy = App(name="policy")


@policy.command
def check(path: Path = Path("policy.toml"), /, *, options: CommonOptions = COMMON) -> None:
    """Say what a policy allows, or what is wrong with it.

    Parameters
    ----------
    path
        The file.
    """
    read = read_policy(path)
    if not read.found:
        raise UsageError(f"There is no policy {path}: nothing may run there")
    for line in in_words(read, datetime.now()):
        print(line)


@policy.command
def sign(path: Path, /, *, key: Path = Path(OWNER_KEY), options: CommonOptions = COMMON) -> None:
    """Sign a policy with the owner's key. Nodes with that owner's line in owner.pub take no other.

    Parameters
    ----------
    path
        The file.
    key
        The owner's, as fogline join --role owner made it.
    """
    signing = SigningKey.load(key)
    serial = sign_policy(path, signing)
    print(f"{signature_of(path)} has signature {serial} of {signing.signer.name}. Copy both files to the nodes.")
    print(f"A node demands it where its owner.pub says: {signing.signer.text}")


@policy.command
def publish(path: Path, /, *, operator: OperatorOptions = OPERATOR) -> None:
    """Give the whole fleet a policy, which holds beside those of the nodes' owners from the next job on.

    Parameters
    ----------
    path
        The file; an empty one takes the fleet's policy back.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    signed = sign_fleet_policy(text, credentials(operator_folder(operator.folder) / "identity"))
    print(asked(operator.folder, lambda client: client.publish_policy(signed)))


def in_words(read: Policy, now: datetime) -> list[str]:
    """What a policy says, a line for each thing."""
    said = [not_in_force(read, now) or f"{read.path} holds now."]
    said += [_of_signer(entry) for entry in read.allowed] or ["It lists no signer, so nothing may run."]
    if read.owners.signers:
        needed = "all" if read.owners.needed is None else str(read.owners.needed)
        said.append(f"Owners: {', '.join(owner.text for owner in read.owners.signers)}; {needed} must approve.")
    if read.secure_aggregation or read.privacy is not None or read.minimum > 1:
        budget = "" if read.privacy is None else f"ε = {read.privacy.epsilon:g} for each {read.privacy.unit}"
        wanted = [*read.secure_aggregation, *([budget] if budget else [])]
        how = (" or " if read.either else " and ").join(wanted) or "nothing"
        said.append(f"Privacy: {how}; at least {read.minimum} devices in what is handed on.")
    for table in read.tables:
        seen = [f"{rule.column} ({rule.how})" for rule in table.columns if rule.how != "drop"]
        said.append(f"Table {table.name} ({table.file}): tasks see {', '.join(seen)}.")
    return said


def _of_signer(entry: Allowed) -> str:
    words = [f"{entry.signer.name} (key {entry.signer.fingerprint}): tasks {', '.join(entry.tasks)}"]
    words += [f"methods {', '.join(entry.algorithms)}"] if entry.algorithms != ("*",) else []
    words += [f"{len(entry.code)} versions of code"] if entry.code else []
    words += ["with the owners' approval"] if entry.approval else []
    words += [f"{entry.uses} jobs"] if entry.uses is not None else []
    return "; ".join(words) + "."
