"""People sign in to a real cloud's page with a provider: who they are then, what they may, and when that is over."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fogline.dashboard.errors import DashboardError
from fogline.dashboard.sign_in.serving import with_page
from fogline.dashboard.sign_in.settings import read_sign_in
from fogline.governance.errors import TrustError
from fogline.governance.identity.identity import Identity
from fogline.governance.identity.proofs import signed as signed_by
from fogline.network.cloud.cloud import cloud, create
from fogline.network.cloud.people import ProvidedPerson
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.process import Listening, NodeFolder
from fogline.network.transport.messages import ParentAddress, Renew
from fogline.storage.errors import StorageFullError
from tests.dashboard.sign_in.conftest import Inside
from tests.dashboard.sign_in.provider import EC, RSA, SECRET, SmallProvider, signed
from tests.dashboard.sign_in.visiting import PagedCloud, Visitor, entry, paged_cloud, write_settings, written
from tests.network.processes import free_port
from tests.patience import PATIENCE

OPERATOR = {"sub": "omar", "groups": ["staff", "plant-operators"]}


def test_who_is_nobody_sees_the_button_and_nothing_else(visitor: Visitor, inside: Inside) -> None:
    def work() -> None:
        assert visitor.about() == {"sign_in": "the tests", "why": ""}
        assert visitor.send("GET", "/").status == 200
        for path in ("/api/events", "/api/ask/audit", "/api/session"):
            assert visitor.send("GET", path).status == 401
        assert visitor.ask("token", {"role": "operator"})[0] == 401

    inside(work)


def test_a_person_has_the_rights_of_the_role_and_the_log_names_the_person(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def work() -> None:
        told = visitor.sign_in(provider, **OPERATOR)
        assert (told["role"], told["who"]) == ("operator", ProvidedPerson(provider.issuer, "omar").name)
        assert visitor.ask("token", {"role": "device"})[0] == 200
        status, log = visitor.ask("audit")
        assert (status, log["problems"]) == (200, [])
        made = [one for one in log["records"] if one["what"] == "token.made"][-1]
        assert made["by"] == told["who"]
        came = [one for one in log["records"] if one["by"] == told["who"] and one["what"] == "person.signed_in"]
        facts = {"issuer": provider.issuer, "subject": "omar", "role": "operator", "nodes": ""}
        assert came[-1]["facts"] == facts
        assert "client_secret" not in provider.sent[-1]  # It goes in the header.
        secrets = [SECRET, *provider.tokens, *visitor.cookies.values(), provider.sent[-1]["code_verifier"]]
        everything = written(page.folder) + caplog.text.encode()
        assert [secret for secret in secrets if secret.encode() in everything] == []

    inside(work)


def test_an_auditor_reads_the_log_and_makes_no_token(visitor: Visitor, provider: SmallProvider, inside: Inside) -> None:
    def work() -> None:
        assert visitor.sign_in(provider, sub="ana")["calls"] == ["approval", "policies", "budgets", "audit"]
        assert visitor.ask("audit")[0] == 200
        assert visitor.ask("token", {"role": "operator"})[0] == 404

    inside(work)


def test_a_role_that_is_limited_to_nodes_is_limited_by_the_cloud(
    visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        visitor.sign_in(provider, sub="pia", groups="presses")
        status, said = visitor.ask("revoke", {"name": "saw-1"})
        assert (status, "is limited to the nodes press-*" in said["error"]) == (400, True)
        status, said = visitor.ask("token", {"role": "device"})
        assert (status, "is limited to the nodes press-*" in said["error"]) == (400, True)

    inside(work)


@pytest.mark.parametrize(
    ("person", "calls", "asked"),
    [
        (
            {"sub": "i", "email": "ines@example.org", "email_verified": True},
            ["decide"],
            {"job": "x", "bundle": "0" * 64, "verdict": "approve"},
        ),
        ({"sub": "dev"}, ["clone", "resume"], {"job": "x"}),
    ],
)
def test_what_a_person_s_own_key_signs_is_said_to_be_done_elsewhere(
    person: dict[str, object], calls: list[str], asked: dict[str, str], visitor: Visitor, provider: SmallProvider,
    inside: Inside,
) -> None:  # fmt: skip
    def work() -> None:
        told = visitor.sign_in(provider, **person)
        assert told["keyless"] == calls
        assert not set(calls) & set(told["calls"])
        for call in calls:
            status, said = visitor.ask(call, asked)
            assert (status, "a key of your own, which this page does not hold" in said["error"]) == (400, True)

    inside(work)


@pytest.mark.parametrize(
    "person",
    [
        {"sub": "eve"},
        {"sub": "Ana"},
        {"sub": "eve", "email": "ines@example.org"},
        {"sub": "eve", "email": "ines@example.org", "email_verified": False},
        {"sub": "eve", "email": "ines@example.org", "email_verified": "true"},
        {"sub": "eve", "groups": ["Plant-Operators", "plant-operators-of-others", 7]},
        {"sub": "eve", "groups": {"plant-operators": True}},
        {"sub": "eve", "roles": ["plant-operators"]},
        {"sub": "eve", "preferred_username": "ana", "name": "ana"},
    ],
)
def test_who_has_no_role_does_not_come_in(
    person: dict[str, object], page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        provider.person = person
        assert "nobody here has given you a role" in visitor.arrive(visitor.back(provider))
        assert not visitor.is_in()
        assert [name for name in visitor.cookies if "session" in name] == []
        assert page.audited("person.refused")[-1]["facts"]["subject"] == person["sub"]

    inside(work)


def test_an_address_with_a_letter_that_is_small_like_another_s_is_another_one(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        page.settings(provider, allow=entry("operator", email="kim@example.org"))
        provider.person = {"sub": "eve", "email": "\N{KELVIN SIGN}im@example.org", "email_verified": True}
        assert "nobody here has given you a role" in visitor.arrive(visitor.back(provider))
        assert visitor.sign_in(provider, sub="kim", email="Kim@Example.org", email_verified=True)["role"] == "operator"

    inside(work)


@pytest.mark.parametrize("who", ["ana", "stranger"])
def test_who_cannot_be_written_down_does_not_come_in_and_reads_why(
    who: str,
    page: PagedCloud,
    visitor: Visitor,
    provider: SmallProvider,
    inside: Inside,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StorageFullError(f"{page.folder} cannot grow, the disk is full; free some space and try again")

    def work() -> None:
        provider.person = {"sub": who}
        why = visitor.arrive(visitor.back(provider))
        assert "can keep nothing now" in why
        assert str(page.folder) not in why
        assert not visitor.is_in()

    monkeypatch.setattr(page.up.node.audit, "record", full)
    before = set((page.folder / "sessions").iterdir())
    inside(work)
    assert set((page.folder / "sessions").iterdir()) == before


def test_the_table_counts_as_it_is_when_somebody_signs_in(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        provider.person = {"sub": "noa"}
        assert "nobody here" in visitor.arrive(visitor.back(provider))
        page.settings(provider, allow=entry("auditor", subject="noa"))
        assert visitor.sign_in(provider, sub="noa")["role"] == "auditor"
        page.settings(provider, allow=entry("king", subject="noa"))
        other = Visitor(page)
        assert "the settings are wrong" in other.arrive(other.back(provider))

    inside(work)


def test_signing_out_ends_the_session_for_whoever_has_its_cookie(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        visitor.sign_in(provider, sub="ana")
        thief = Visitor(page, dict(visitor.cookies))
        events = visitor.send("GET", "/api/events")
        assert thief.is_in()
        assert visitor.send("POST", "/api/sign-out", {}, Origin="http://evil.example").status == 403
        assert visitor.send("GET", "/api/sign-out").status == 405
        assert thief.is_in()
        assert visitor.send("POST", "/api/sign-out", {}).status == 204
        assert not thief.is_in()
        assert visitor.cookies == {}
        events.read()  # What was open ends.

    inside(work)


def test_a_revoked_person_is_out_at_once_and_stays_out(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        page.settings(provider, allow=entry("operator", subject="rex") + entry("operator", group="plant-operators"))
        name = visitor.sign_in(provider, sub="rex")["who"]
        events = visitor.send("GET", "/api/events")
        operator = Visitor(page)
        operator.sign_in(provider, **OPERATOR)
        status, told = operator.ask("revoke", {"name": name})
        assert status == 200
        assert "turned away whenever it signs in" in str(told)
        assert "token" not in str(told)
        events.read()
        assert not visitor.is_in()
        provider.person = {"sub": "rex"}
        assert "was revoked" in visitor.arrive(visitor.back(provider))
        assert not visitor.is_in()

    inside(work)


def test_a_session_s_certificate_is_no_way_to_a_longer_one_and_its_key_goes_with_it(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside, tmp_path: Path
) -> None:
    page.settings(provider, allow=entry("auditor", subject="ada"))
    told = inside(lambda: visitor.sign_in(provider, sub="ada"))
    own = [Identity.load(one / "identity") for one in (page.folder / "sessions").iterdir()]
    (identity,) = [one for one in own if one.subject.name == told["who"]]
    folder = identity.folder.parent
    assert identity.facts.expires - identity.facts.starts < 2 * 3600
    assert (identity.subject.role, folder.parent.stat().st_mode & 0o777) == ("auditor", 0o700)
    registrar = page.up.registrar
    assert registrar is not None

    request = Identity.create_key(tmp_path / "longer").csr()
    with pytest.raises(TrustError, match="signs in for each session"):
        registrar.renew(Renew(request, identity.certificate, signed_by(identity, request)))
    inside(lambda: visitor.send("POST", "/api/sign-out", {}))
    assert not folder.exists()


def test_nobody_joins_under_the_name_of_somebody_who_signs_in_nor_the_other_way_round(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside, runner: asyncio.Runner
) -> None:
    registrar = page.up.registrar
    assert registrar is not None

    def joined(name: str) -> None:
        token = registrar.token(NewToken("developer"), "operator")
        door = ParentAddress("cloud", page.up.enrolment)
        runner.run(join(door, token, name, "developer", page.folder.parent / name / "identity"))

    name = inside(lambda: visitor.sign_in(provider, sub="ana"))["who"]
    with pytest.raises(Exception, match="somebody who signs in here"):
        joined(name.upper())
    joined(ProvidedPerson(provider.issuer, "dev2").name)

    def work() -> None:
        page.settings(provider, allow=entry("developer", subject="dev2"))
        provider.person = {"sub": "dev2"}
        other = Visitor(page)
        assert "is named dev2-" in other.arrive(other.back(provider))

    inside(work)


def test_one_person_has_so_many_sessions_and_the_oldest_ends(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        visitors = [visitor, *(Visitor(page) for _ in range(8))]
        for one in visitors:
            one.sign_in(provider, sub="dev")
        assert [one.is_in() for one in visitors] == [False, *[True] * 8]

    inside(work)


def test_a_provider_s_new_key_is_fetched_once_and_es256_counts(
    visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        visitor.sign_in(provider, sub="ana")
        provider.keys, provider.sign = [RSA, EC], lambda claims: signed(claims, EC, "ES256")
        provider.asked.clear()
        visitor.sign_in(provider, sub="ana")
        assert provider.asked.count("/keys") == 1
        visitor.sign_in(provider, sub="ana")
        assert provider.asked.count("/keys") == 1

    inside(work)


def test_cookies_over_https_are_secure_and_of_this_host_only(
    provider: SmallProvider, tmp_path: Path, runner: asyncio.Runner
) -> None:
    async def work() -> None:
        async with paged_cloud(tmp_path / "cloud", provider, "https://fogline.example.org") as page:
            visitor = Visitor(page)
            await asyncio.to_thread(visitor.sign_in, provider, sub="ana")
            assert set(visitor.set) == {"__Host-fogline-visit", "__Host-fogline-session"}
            for cookie in visitor.set.values():
                assert (cookie["secure"], cookie["httponly"], cookie["path"], cookie["domain"]) == (True, True, "/", "")
            assert visitor.set["__Host-fogline-session"]["samesite"] == "strict"
            assert int(visitor.set["__Host-fogline-session"]["max-age"]) == 3600

    runner.run(work())


def test_a_session_ends_by_itself(provider: SmallProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with paged_cloud(tmp_path / "cloud", provider) as page:
            visitor, loop = Visitor(page), asyncio.get_running_loop()
            await asyncio.to_thread(visitor.sign_in, provider, sub="ana")
            events = await asyncio.to_thread(visitor.send, "GET", "/api/events")
            now = loop.time
            monkeypatch.setattr(loop, "time", lambda: now() + 3600)  # To the loop's end: its timers are set by it.
            await asyncio.to_thread(events.read)  # Until it is over.
            assert not await asyncio.to_thread(visitor.is_in)
            assert page.audited("person.signed_out")[-1]["facts"]["why"] == "its time was over"
            assert list((page.folder / "sessions").iterdir()) == []

    asyncio.run(work())


def test_a_cloud_whose_provider_is_not_there_says_so_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        folder, local = tmp_path / "cloud", Listening("127.0.0.1:0", "127.0.0.1:0")
        create(folder)
        write_settings(folder, f"http://127.0.0.1:{free_port()}", free_port())
        async with (
            asyncio.timeout(PATIENCE),
            with_page(lambda: cloud(NodeFolder(folder), local), folder, read_sign_in(folder)),
        ):
            while "nobody can sign in with http://127.0.0.1:" not in caplog.text:
                await asyncio.sleep(0.05)

    asyncio.run(work())
    assert "The provider does not answer" in caplog.text


def test_the_page_has_a_certificate_of_its_own(provider: SmallProvider, tmp_path: Path) -> None:
    async def work() -> None:
        folder = tmp_path / "cloud"
        create(folder)
        port = free_port()
        own = 'certificate = "page.pem"\nkey = "page-key.pem"'
        write_settings(folder, provider.issuer, port, f"https://127.0.0.1:{port}", more=own)

        async def looked() -> tuple[int, str]:
            local = Listening("127.0.0.1:0", "127.0.0.1:0")
            async with with_page(lambda: cloud(NodeFolder(folder), local), folder, read_sign_in(folder)):
                return await asyncio.to_thread(told_over_tls, port, folder / "page.pem")

        for name in ("page.pem", "page-key.pem"):
            (folder / name).write_text("none")
        with pytest.raises(DashboardError, match=r"page\.pem and .*page-key\.pem are no certificate"):
            await looked()
        self_signed(folder / "page.pem", folder / "page-key.pem")
        assert await looked() == (200, "the tests")

    asyncio.run(work())


def told_over_tls(port: int, root: Path) -> tuple[int, str]:
    """Status, and whom one signs in with."""
    connection = HTTPSConnection("127.0.0.1", port, context=ssl.create_default_context(cafile=root), timeout=PATIENCE)
    connection.request("GET", "/api/about")
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())["sign_in"]


def self_signed(certificate: Path, key: Path) -> None:
    """A certificate of this machine's."""
    private, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "page")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
