"""``fogline join``."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from fogline.cli.failures import UsageError
from fogline.cli.options import COMMON, CommonOptions, Many
from fogline.cli.running import parent_address_of
from fogline.governance.errors import TokenError
from fogline.governance.policy.terms import OWNER
from fogline.governance.signatures.signing import Signer, SigningKey
from fogline.governance.subject import JOINING, PEOPLE, Role
from fogline.jobs.errors import suggest
from fogline.network.cloud.folder import FACTS, OWNER_KEY, SIGNING, OperatorFacts, trusting
from fogline.network.node.enrolment import join as enrol
from fogline.network.node.membership import Membership
from fogline.network.node.process import NodeFolder
from fogline.network.transport.messages import Certificate, ParentAddress

KEYS = {"operator": SIGNING, "developer": SIGNING, "owner": OWNER_KEY}
"""What those sign with who sign: jobs, or approvals."""
LONGEST = 8192


def join(
    url: str,
    /,
    *,
    token: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    name: str = "",
    role: str = "device",
    folder: Path | None = None,
    trust: Many = (),
    owner: str = "",
    options: CommonOptions = COMMON,
) -> None:
    """Become a member: make a key here, and get a certificate for it.

    Parameters
    ----------
    url
        The enrolment endpoint of a node, as NAME@HOST:PORT, or HOST:PORT where the node behind it is called cloud.
    token
        The token; @FILE reads it from a file, and - from standard input, so that it stands in no history.
    name
        Name of this node; by default the host's.
    role
        What the token is for: fog, device, operator, developer, owner (of data) or auditor.
    folder
        Where the node lives; by default ./fogline-ROLE.
    owner
        Of a fog or device: who must sign its policy, as 'NAME ed25519:KEY'.
    trust
        A developer whose jobs may run here, as 'NAME ed25519:KEY': goes into the policy, if there is none yet.
    """
    door, who, what = parent_address_of(url), name or socket.gethostname().partition(".")[0], _role(role)
    signers = [Signer.parse(text) for text in trust]
    pinned = Signer.parse(owner) if owner else None
    place = NodeFolder(folder or Path("fogline-cloud" if what in PEOPLE else f"fogline-{what}"))
    issued = asyncio.run(enrol(door, read_secret(token), who, what, place.identity))
    if what in PEOPLE:
        _settle_person(place, who, what, issued, door)
    else:
        _settle_node(place, Membership.of(who, what, issued), signers, pinned)


def read_secret(text: str) -> str:
    """A token as it stands on the command line, in a file (``@FILE``) or on standard input (``-``).

    Raises:
        TokenError: the file cannot be read.
    """
    if text == "-":
        return getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline(LONGEST)
    if not text.startswith("@"):
        return text
    try:
        with Path(text[1:]).open(encoding="utf-8") as file:
            return file.read(LONGEST)
    except OSError as error:
        raise TokenError(f"The token cannot be read from {text[1:]}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise TokenError(f"The token cannot be read from {text[1:]}: it is no text.") from None


def _role(text: str) -> Role:
    for role in JOINING:
        if text == role:
            return role
    raise UsageError(f"'{text}' is no role that can join{suggest(text, JOINING)}")


def _settle_node(place: NodeFolder, membership: Membership, signers: Sequence[Signer], owner: Signer | None) -> None:
    membership.write(place.folder)
    if owner is not None:
        place.policy.with_name(OWNER).write_text(owner.text + "\n")
    if signers and not place.policy.exists():
        place.policy.write_text("\n".join(trusting(signer.name, signer.key) for signer in signers))
    above = membership.parents[0]
    print(f"Joined as the {membership.role} '{membership.name}', below {above.name} ({above.address}).")
    if not place.policy.exists():
        print(f"It refuses every job until {place.policy} names a developer whose jobs may run:")
        print('  [[signer]]\n  name = "NAME"\n  key = "ed25519:..."')
    if owner is not None:
        print(
            f"It takes only a policy that {owner.name} has signed: fogline policy sign {place.policy} --key owner.key"
        )
    print(f"Run it: fogline {membership.role} run --folder {place.folder}")


def _settle_person(place: NodeFolder, name: str, role: Role, issued: Certificate, door: ParentAddress) -> None:
    above = issued.parent_address
    facts = OperatorFacts(above.name, above.address, door.address, name)
    (place.folder / FACTS).write_bytes(msgspec.json.encode(facts))
    said = f"{name} may work with the cloud {facts.name} ({facts.address}) now: fogline"
    if role not in KEYS:
        print(f"{said} audit export --cloud {place.folder}")
        return
    key = place.folder / KEYS[role]
    signer = (SigningKey.load(key) if key.exists() else SigningKey.create(key, name)).signer
    if role == "owner":
        print(f"{said} approvals list --cloud {place.folder}")
        print("Its approval counts where a policy (policy.toml of the cloud, of fogs and of devices) says:")
        print(f'[[owner]]\nname = "{signer.name}"\nkey = "{signer.key}"')
        return
    print(f"{said} jobs list --cloud {place.folder}")
    print("Its jobs run where a policy (policy.toml of the cloud, of fogs and of devices) says:")
    print(trusting(signer.name, signer.key).split("\n", 1)[1], end="")
