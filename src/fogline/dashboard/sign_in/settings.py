"""What the operator says in ``sign-in.toml``, in the cloud's folder: where the page is, whom to ask who somebody is,
and who may do what.
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from fogline.dashboard.sign_in.errors import SignInSettingsError
from fogline.governance.safe_files import read_bounded
from fogline.governance.subject import PEOPLE, Role, Subject

FILE = "sign-in.toml"
SECRET = "FOGLINE_SIGN_IN_SECRET"
"""The environment variable that may hold the client's secret."""
LARGEST = 1 << 20
LOCAL = ("127.0.0.1", "::1", "localhost")
USUAL = (":80", ":443")
"""Ports that browsers leave out."""
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is asked who somebody is, and how the provider knows this cloud."""

    issuer: str
    client_id: str
    name: str = ""
    """On the button; empty: the issuer's host."""
    secret_file: str = ""
    """With the client's secret, below the cloud's folder or anywhere; empty: it is in :data:`SECRET`."""
    groups: str = "groups"
    """The claim that says somebody's groups."""
    scopes: tuple[str, ...] = ()
    """That are asked for beside ``openid``, such as ``email`` and ``groups``."""


class AllowedPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may sign in, as what. One of the first three says who."""

    role: Role
    group: str = ""
    subject: str = ""
    email: str = ""
    """That the provider says it has verified."""
    nodes: tuple[str, ...] = ()
    """Patterns of the names of nodes to which the role is limited; none: it holds for all."""
    site: str = "main"


class SignInSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    address: str
    """Of the page, as browsers name it: ``https://fogline.example.org``."""
    provider: Provider
    allow: tuple[AllowedPerson, ...]
    """The first that fits somebody counts. Whom none fits does not come in."""
    listen: str = "127.0.0.1:7446"
    certificate: str = ""
    """File (PEM) below the cloud's folder or anywhere; empty: a proxy on this machine has one."""
    key: str = ""
    minutes: Annotated[float, msgspec.Meta(gt=0, le=720)] = 60.0
    """After which a person is signed out."""

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the page over TLS."""
        return self.address.startswith("https://")

    @property
    def listening(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class SignIn:
    """Settings that were checked, with the secret."""

    settings: SignInSettings
    folder: Path
    secret: str = field(repr=False)

    @property
    def pem(self) -> tuple[Path, Path] | None:
        """The page's certificate and its key."""
        given = self.settings
        return (self.folder / given.certificate, self.folder / given.key) if given.certificate else None


def read_settings(folder: Path) -> SignInSettings:
    """What stands in a cloud's folder.

    Raises:
        SignInSettingsError: it cannot be read, or says what is impossible.
    """
    path = folder / FILE
    try:
        text = read_bounded(path, LARGEST).decode()
        settings = msgspec.convert(tomllib.loads(text), SignInSettings)
    except OSError as error:
        raise SignInSettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise SignInSettingsError(f"{path} cannot be used: {error}") from None
    wrong = _wrong(settings)
    if wrong is not None:
        raise SignInSettingsError(f"{path} cannot be used: {wrong}")
    return settings


def read_sign_in(folder: Path) -> SignIn:
    """The settings of a cloud's folder, with the client's secret.

    Raises:
        SignInSettingsError: there is no secret, others may read it, or the settings cannot be used.
    """
    settings = read_settings(folder)
    if settings.provider.secret_file:
        return SignIn(settings, folder, _secret_of(folder / settings.provider.secret_file))
    secret = os.environ.get(SECRET, "")
    if not secret:
        raise SignInSettingsError(
            f"{folder / FILE} names no client secret: write it into a file and name that as provider.secret_file, or "
            f"set {SECRET}"
        )
    return SignIn(settings, folder, secret)


def is_local(host: str) -> bool:
    """Whether a host is this machine, so that nobody else is on the way."""
    return host in LOCAL


def checked_url(url: str) -> str | None:
    """What is wrong with the address of a page or of a provider; None: nothing."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return f"{url[:200]!r} is no address: write spaces and letters beyond ASCII as %20 and the like"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return f"{url[:200]!r} is no address"
    if parts.username or parts.password:
        return "an address with a name or a password in it is not used; leave these out"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        return f"{url[:200]!r} is no address; write one that begins with https://"
    if parts.scheme == "http" and not is_local(parts.hostname):
        return f"{url[:200]!r} is not https, and so others on the way could read along; only this machine may be http"
    return None


def _wrong(settings: SignInSettings) -> str | None:
    """What is wrong with settings; None: nothing."""
    provider = settings.provider
    for key, url in (("address", settings.address), ("provider.issuer", provider.issuer)):
        if why := checked_url(url):
            return f"{key}: {why}"
    if urlsplit(settings.address).path or urlsplit(settings.address).query:
        return f"address: {settings.address!r} must end with the host or its port, without a slash"
    if settings.address != settings.address.lower() or settings.address.endswith(USUAL):
        return (
            f"address: {settings.address!r} is not as browsers name it; write it in small letters, without :80 or :443"
        )
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        return f"listen: {settings.listen!r} is no address; write HOST:PORT"
    if bool(settings.certificate) != bool(settings.key):
        return "certificate and key go together; name both or none"
    if settings.certificate and not settings.is_secure:
        return "address must begin with https://, since there is a certificate"
    if not settings.certificate and not is_local(settings.listening[0]):
        return f"listen: {settings.listen} is open to others, so name a certificate and its key; or listen at 127.0.0.1"
    if not provider.client_id:
        return "provider.client_id is empty"
    return next((why for entry in settings.allow if (why := _wrong_entry(entry))), None)


def _wrong_entry(entry: AllowedPerson) -> str | None:
    who = [text for text in (entry.group, entry.subject, entry.email) if text]
    if len(who) != 1:
        return "each [[allow]] names one of group, subject and email"
    if entry.role not in PEOPLE:
        return f"[[allow]] {who[0]}: {entry.role} is no role of people; there are {', '.join(PEOPLE)}"
    try:
        Subject("any", entry.role, entry.site, entry.nodes)
    except ValueError as error:
        return f"[[allow]] {who[0]}: {error}"
    return None


def _secret_of(path: Path) -> str:
    if "\0" in str(path):
        raise SignInSettingsError(f"{str(path)!r}, the file of the client's secret, cannot be the name of a file")
    try:
        mode = path.stat().st_mode
        if os.name == "posix" and mode & OTHERS:
            raise SignInSettingsError(f"Others can read or change {path}, the client's secret; run: chmod 600 {path}")
        secret = read_bounded(path, LARGEST).decode().strip()
    except OSError as error:
        raise SignInSettingsError(f"{path}, the client's secret, cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SignInSettingsError(f"{path}, the client's secret, is no text") from None
    if not secret:
        raise SignInSettingsError(f"{path}, the client's secret, is empty")
    return secret
