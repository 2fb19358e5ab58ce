"""A real cloud with its page for people who sign in, and a browser without a screen or scripts."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fogline.dashboard.sign_in.serving import with_page
from fogline.dashboard.sign_in.settings import FILE, read_sign_in
from fogline.network.cloud.cloud import CloudUp, cloud, create
from fogline.network.node.process import Listening, NodeFolder
from tests.dashboard.sign_in.provider import CLIENT, SECRET, SmallProvider
from tests.network.processes import free_port
from tests.patience import PATIENCE


def entry(role: str, **who: str) -> str:
    """A line of the table of who may be what."""
    return "\n[[allow]]\n" + "".join(f'{key} = "{value}"\n' for key, value in who.items()) + f'role = "{role}"\n'


ALLOW = (
    entry("operator", group="plant-operators")
    + entry("auditor", subject="ana")
    + entry("owner", email="Ines@example.org")
    + entry("operator", group="presses")
    + 'nodes = ["press-*"]\n'
    + entry("developer", subject="dev")
)


def write_settings(folder: Path, issuer: str, port: int, address: str = "", allow: str = ALLOW, more: str = "") -> str:
    """``sign-in.toml`` of a cloud; the address of its page."""
    secret = folder / "client-secret"
    secret.touch(0o600)
    secret.write_text(SECRET + "\n")
    address = address or f"http://127.0.0.1:{port}"
    (folder / FILE).write_text(
        f'address = "{address}"\nlisten = "127.0.0.1:{port}"\n{more}\n[provider]\nissuer = "{issuer}"\n'
        f'client_id = "{CLIENT}"\nsecret_file = "client-secret"\nname = "the tests"\n'
        f'scopes = ["email", "groups"]\n{allow}'
    )
    return address


@dataclass
class PagedCloud:
    """A cloud and its page."""

    folder: Path
    up: CloudUp
    address: str
    port: int

    def settings(self, provider: SmallProvider, **other: str) -> None:
        """Write them anew, but for what is other."""
        write_settings(self.folder, provider.issuer, self.port, **other)

    def audited(self, what: str) -> list[Any]:
        """Records of the cloud's audit log."""
        records = [json.loads(line) for line in self.up.node.audit.log.lines(self.up.node.audit.log.head().size)]
        return [one for one in records if one["what"] == what]


@asynccontextmanager
async def paged_cloud(folder: Path, provider: SmallProvider, address: str = "") -> AsyncGenerator[PagedCloud]:
    """One that runs."""
    create(folder)
    port = free_port()
    address = write_settings(folder, provider.issuer, port, address)
    local = Listening("127.0.0.1:0", "127.0.0.1:0")
    async with with_page(lambda: cloud(NodeFolder(folder), local), folder, read_sign_in(folder)) as up:
        yield PagedCloud(folder, up, address, port)


@dataclass
class Visitor:
    """Somebody's browser, with its cookies."""

    page: PagedCloud
    cookies: dict[str, str] = field(default_factory=dict)
    set: SimpleCookie = field(default_factory=SimpleCookie)
    """All cookies that were ever set, with what was said of them."""

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> HTTPResponse:
        """A request of the page's, but for ``headers``, by name with underscores."""
        given = {"Host": urlsplit(self.page.address).netloc, "Cookie": self.held()}
        if method == "POST":
            given |= {"Origin": self.page.address, "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self.page.port, timeout=PATIENCE)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {name: value for name, value in given.items() if value})
        answer = connection.getresponse()
        for line in answer.headers.get_all("set-cookie") or []:
            self.set.load(line)
            one = SimpleCookie(line)
            for name, morsel in one.items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]
        return answer

    def held(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def begin(self) -> str:
        """Press the button: where the browser is sent."""
        answer = self.send("GET", "/sign-in/start")
        assert answer.status == 303
        return str(answer.getheader("location"))

    def back(self, provider: SmallProvider) -> str:
        """Go to the provider and sign in there: the path to which it sends the browser back."""
        to = urlsplit(self.begin())
        assert f"{to.scheme}://{to.netloc}" == provider.issuer
        connection = HTTPConnection(to.netloc, timeout=PATIENCE)
        connection.request("GET", f"{to.path}?{to.query}")
        location = str(connection.getresponse().getheader("location"))
        assert location.startswith(self.page.address + "/sign-in/callback?")
        return location.removeprefix(self.page.address)

    def arrive(self, path: str) -> str:
        """Come back: why the person is not let in; empty: he is."""
        answer = self.send("GET", path)
        assert (answer.status, answer.getheader("location")) == (303, "/")
        return self.about().get("why", "")

    def sign_in(self, provider: SmallProvider, **person: Any) -> dict[str, Any]:
        """All the way; what the page is told."""
        provider.person = person
        assert self.arrive(self.back(provider)) == ""
        events = self.send("GET", "/api/events")
        while b"event: nodes" not in events.readline():  # Then the page is connected to the cloud.
            assert not events.isclosed()
        events.close()
        return self.about()

    def about(self) -> dict[str, Any]:
        answer = self.send("GET", "/api/about")
        assert answer.status == 200
        return json.loads(answer.read())

    def ask(self, call: str, wanted: Any = None) -> tuple[int, Any]:
        """Status and answer of a call."""
        answer = self.send("POST", f"/api/ask/{call}", wanted or {})
        return answer.status, json.loads(answer.read())

    def is_in(self) -> bool:
        """Whether the cloud knows somebody in this browser."""
        return "role" in self.about()


def written(folder: Path) -> bytes:
    """All that lies in a folder, but for the file of the client's secret."""
    found = b""
    for place, _, names in os.walk(folder):
        found += b"".join(Path(place, name).read_bytes() for name in names if name != "client-secret")
    return found
