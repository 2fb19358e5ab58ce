"""``fogline token``."""

from __future__ import annotations

from cyclopts import App
from rich.console import Console

from fogline.cli.connection import asked, facts_of, operator_folder
from fogline.cli.failures import UsageError
from fogline.cli.options import OPERATOR, Many, OperatorOptions, duration
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import JOINING, PEOPLE
from fogline.jobs.errors import suggest
from fogline.monitoring.human import human_seconds
from fogline.network.cloud.client import Client
from fogline.network.cloud.folder import SIGNING
from fogline.network.cloud.requests import NewToken

token = App(name="token")


@token.command
def create(
    *,
    role: str = "device",
    site: str = "main",
    uses: int = 1,
    ttl: str = "1h",
    names: str | None = None,
    nodes: Many = (),
    operator: OperatorOptions = OPERATOR,
) -> None:
    """Make a token, and print the command that joins with it.

    Parameters
    ----------
    role
        What joins with it: fog, device, operator, developer, owner (of data) or auditor.
    site
        Where that is.
    uses
        How many may join with it.
    ttl
        How long it is good for: 90s, 30min, 1h, 7d.
    names
        Only nodes with such names may join with it: --names 'press-*'.
    nodes
        Of a person: the role is for nodes with such names only: --nodes 'press-*'. May be given several times.
    """
    if role not in JOINING:
        raise UsageError(f"'{role}' is no role that can join{suggest(role, JOINING)}")
    life = duration("--ttl", ttl)
    wanted = NewToken(role, site, uses, life, names, nodes)

    async def ask(client: Client) -> str:
        return await client.token(wanted)

    made, facts = asked(operator.folder, ask), facts_of(operator.folder)
    key = operator_folder(operator.folder) / SIGNING
    trust = ""
    if role in ("fog", "device") and key.exists():
        trust = f" --trust '{SigningKey.load(key).signer.text}'"
    how_many = "once" if uses == 1 else f"{uses} times"
    where = f"The new {role} runs:" if role in PEOPLE else f"On the new {role}, run:"
    Console(stderr=True).print(f"[dim]Good {how_many}, for {human_seconds(life)}. {where}[/]", highlight=False)
    print(f"fogline join {facts.name}@{facts.enrolment} --role {role} --token {made}{trust}")
