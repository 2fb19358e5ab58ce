"""``fogline cloud``, ``fogline fog run`` and ``fogline device run``: nodes as programs."""

from __future__ import annotations

import contextlib
import sys
import tomllib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

from fogline.cli.failures import UsageError
from fogline.cli.options import Predictions
from fogline.cli.waiting import entered
from fogline.governance.errors import TrustError, UntimelyIdentityError
from fogline.governance.policy.policy import read_policy
from fogline.governance.subject import Role
from fogline.logs import write_logs
from fogline.network.node.membership import Membership
from fogline.network.node.process import Attach, Listening, NodeFolder, RunningNode, member, run, until_told
from fogline.network.node.status import StatusChange
from fogline.network.transport.messages import ParentAddress
from fogline.registry.release import Tier

Addresses = tuple[str, str, str]
"""Where a node listens, its door, and how others reach it."""


def make_cloud(folder: Path, name: str, operator: str) -> None:
    """Set a cloud up, and say what comes next.

    Raises:
        TrustError: there is one in that folder.
    """
    from fogline.network.cloud.cloud import create

    create(folder, name, operator)
    where = "" if folder == Path("fogline-cloud") else f" --folder {folder}"
    option = "" if folder == Path("fogline-cloud") else f" --cloud {folder}"
    print(f"The cloud '{name}' lives in {folder}. Keep {folder / 'authority'} secret: it decides who is a member.")
    print(f"Run it:       fogline cloud run{where}")
    print(f"Add a device: fogline token create --role device{option}")


def run_cloud(
    folder: Path,
    addresses: Addresses,
    store: str,
    blobs: str,
    parallel: int,
    predictions: Predictions,
    attached: bool,
) -> None:
    """Run a cloud until it is told to end.

    Raises:
        TrustError: there is no cloud in the folder.
        StorageError: its records or blobs cannot be opened.
        OSError: an address is taken.
    """
    from fogline.network.cloud.cloud import AUTHORITY, cloud

    if not (folder / AUTHORITY).is_dir():
        raise TrustError(f"There is no cloud in {folder}; make one: fogline cloud init --folder {folder}")
    listening = _listening(addresses)
    tell = _teller(attached)
    place = NodeFolder(folder, store, blobs)
    attach = _attach(place, "cloud", predictions)
    run(
        _keep_up(
            lambda: cloud(place, listening, parallel, on_change=tell, attach=attach),
            f"The cloud in {folder}",
            tell,
            attached,
            patient=False,
        )
    )


def run_member(
    role: Role,
    folder: Path,
    parents: Sequence[str],
    addresses: Addresses | None,
    client: str,
    settings: Sequence[str],
    predictions: Predictions,
    attached: bool,
) -> None:
    """Run a fog or a device until it is told to end.

    Raises:
        TrustError: it has not joined, or may not be used.
        Refused: no parent wants it.
        OSError: an address is taken.
    """
    membership = Membership.read(folder, role)
    place, tell = NodeFolder(folder), _teller(attached)
    if not read_policy(place.policy).found and not attached:
        print(f"There is no {place.policy} yet, so {membership.name} refuses every job.", file=sys.stderr)
    parent_addresses = [parent_address_of(text) for text in parents] or list(membership.parents)
    listening = None if addresses is None else _listening(addresses)
    parameters = dict(_setting(text) for text in settings)
    tier: Tier = "device" if role == "device" else "fog"
    attach = _attach(place, tier, predictions)

    def make() -> AbstractAsyncContextManager[RunningNode]:
        return member(place, parent_addresses, listening, client, parameters, tell, attach)

    run(_keep_up(make, f"The {role} {membership.name}", tell, attached, patient=not attached))


def revert_model(folder: Path, model: str) -> None:
    """Have a node of this machine go back to the version of a model before.

    Raises:
        UsageError: there is no node in the folder.
        StorageError: its records cannot be written.
    """
    from fogline.serving.update.manual_revert import request_revert

    if not (folder / "records.sqlite").exists():
        raise UsageError(f"There is no node in {folder}; name its folder with --folder")
    told = request_revert(NodeFolder(folder), model)
    print("The node goes back now; its log tells how it went." if told else "The node goes back when it is started.")


def _attach(place: NodeFolder, tier: Tier, predictions: Predictions) -> Attach | None:
    """What makes a node serve; None where it does not."""
    if not predictions.serve:
        return None
    from fogline.serving.on_node import attaching
    from fogline.serving.settings import Settings

    parent_address_of(predictions.http)
    grpc = "" if predictions.grpc == "none" else predictions.grpc
    settings = Settings(
        listen=predictions.http, grpc=grpc, tier=tier, threads=predictions.threads, variants=predictions.variants
    )
    return attaching(place, settings)


async def _keep_up(
    make: Callable[[], AbstractAsyncContextManager[RunningNode]],
    who: str,
    tell: Callable[[StatusChange], None],
    attached: bool,
    patient: bool,
) -> None:
    """``patient``: wait for a disk with room and a clock that is right; who started this program may know better."""
    while True:
        try:
            async with AsyncExitStack() as stack:
                up = await (entered(stack, make) if patient else stack.enter_async_context(make()))
                tell(StatusChange("ready", who=up.address, why=up.enrolment))
                if not attached:
                    where = f" listens at {up.address}, its door is at {up.enrolment}" if up.address else " runs"
                    print(f"{who}{where}; stop it with Ctrl-C.", flush=True)
                await until_told(up, attached)
            return
        except UntimelyIdentityError:
            if not patient:
                raise


def _teller(attached: bool) -> Callable[[StatusChange], None]:
    """Who is told of changes; the log on standard error says the same, and more."""
    write_logs()
    if not attached:
        return lambda _: None
    import msgspec

    encode = msgspec.json.encode

    def tell(change: StatusChange) -> None:
        # Whoever reads may be gone; then standard input ends too, and so does this program.
        with contextlib.suppress(BrokenPipeError):
            print(encode(change).decode(), flush=True)

    return tell


def parent_address_of(text: str) -> ParentAddress:
    """A node's name and address.

    Raises:
        UsageError: it is no ``name@host:port``.
    """
    parent_address = ParentAddress.parse(text)
    host, _, port = parent_address.address.rpartition(":")
    if not parent_address.name or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"'{text}' is no address of a node; write HOST:PORT or NAME@HOST:PORT")
    return parent_address


def _listening(addresses: Addresses) -> Listening:
    for text in addresses:
        if text:
            parent_address_of(text)
    return Listening(*addresses)


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"'{text}' sets nothing; write --set parameter=value")
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    found = table["value"]
    if not isinstance(found, str | int | float | bool):
        raise UsageError(f"'{text}' sets a {type(found).__name__}; a site can set text, numbers, true and false")
    return key.strip(), found
