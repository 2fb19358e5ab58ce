"""``fogline policy``: look at an owner's policy, sign it, and give the fleet one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cyclopts import App

from fogline.cli.connection import asked, operator_folder
from fogline.cli.failures import UsageError
from fogline.cli.listing import print_json
from fogline.cli.options import COMMON, OPERATOR, CommonOptions, Json, OperatorOptions
from fogline.cli.telling import printable
from fogline.governance.identity.checked import credentials
from fogline.governance.identity.credentials import ROOT
from fogline.governance.policy.in_words import in_words
from fogline.governance.policy.policy import read_policy
from fogline.governance.policy.signed import sign_policy, signature_of
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.client import Client
from fogline.network.cloud.folder import OWNER_KEY
from fogline.network.cloud.owners.shown_policies import shown_policies
from fogline.network.node.site.fleet_policy import sign_fleet_policy

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
def show(*, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """Show the fleet's policy, and the cloud's own. What nodes' owners decide stays on the nodes.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of sentences.
    """
    root = (operator_folder(operator.folder) / "identity" / ROOT).read_bytes()
    shown = shown_policies(asked(operator.folder, Client.policies), root, datetime.now())
    if json:
        print_json(shown)
        return
    for one in shown:
        when = "" if one.at is None else f", signed by {one.by} on {datetime.fromtimestamp(one.at):%Y-%m-%d %H:%M}"
        print(printable(f"{one.name[0].upper()}{one.name[1:]}{when}:"))
        for line in one.words:
            print(f"  {printable(line)}")


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
