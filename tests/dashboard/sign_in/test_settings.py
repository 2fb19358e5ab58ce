"""``sign-in.toml``: what is wrong with it is a sentence, and nothing is served then."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from fogline.cli.people_page import people_page_of
from fogline.dashboard.sign_in.errors import SignInSettingsError
from fogline.dashboard.sign_in.settings import FILE, SECRET, read_sign_in

GOOD = """
address = "https://fogline.example.org"
[provider]
issuer = "https://login.example.org/plant"
client_id = "fogline"
secret_file = "secret"
[[allow]]
group = "plant"
role = "auditor"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text("hush\n")
    return tmp_path


def wrong(folder: Path, text: str) -> str:
    (folder / FILE).write_text(text)
    with pytest.raises(SignInSettingsError) as caught:
        read_sign_in(folder)
    said = str(caught.value)
    assert str(folder) in said
    assert "\n" not in said
    assert "hush" not in said
    return said


def test_the_secret_is_in_a_file_or_in_the_environment_and_in_no_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / FILE).write_text(GOOD)
    assert read_sign_in(folder).secret == "hush"
    assert "hush" not in repr(read_sign_in(folder))
    (folder / FILE).write_text(GOOD.replace('secret_file = "secret"', ""))
    monkeypatch.setenv(SECRET, "of the environment")
    assert read_sign_in(folder).secret == "of the environment"
    monkeypatch.delenv(SECRET)
    assert SECRET in wrong(folder, GOOD.replace('secret_file = "secret"', ""))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_others_can_read_is_not_used(mode: int, folder: Path) -> None:
    (folder / "secret").chmod(mode)
    assert "chmod 600" in wrong(folder, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('address = "https', 'address = "http', "address: 'http://fogline.example.org' is not https"),
        ("example.org", "example.org/page", "without a slash"),
        ("fogline.example.org", "fogline.example.org:443", "as browsers name it"),
        ('issuer = "https', 'issuer = "http', "provider.issuer: 'http://login.example.org/plant' is not https"),
        ('issuer = "https', 'issuer = "ftp', "begins with https://"),
        ("https://login", "https://user:hush@login", "leave these out"),
        ("\n[provider]", '\nlisten = "0.0.0.0:7446"\n[provider]', "open to others"),
        ("\n[provider]", '\nlisten = "7446"\n[provider]', "HOST:PORT"),
        ("\n[provider]", '\nlisten = "127.0.0.1:0"\n[provider]', "HOST:PORT"),
        ("\n[provider]", '\nkey = "key.pem"\n[provider]', "go together"),
        ("\n[provider]", "\nminutes = 0\n[provider]", "minutes"),
        ("\n[provider]", "\nminutes = 100000\n[provider]", "minutes"),
        ("client_id", "client", "client"),
        ('"auditor"', '"device"', "no role of people"),
        ('"auditor"', '"cloud"', "no role of people"),
        ('"auditor"', '"king"', "role"),
        ('group = "plant"', "", "names one of group, subject and email"),
        ('group = "plant"', 'group = "plant"\nsubject = "ana"', "names one of group, subject and email"),
        ('group = "plant"', 'group = "plant"\nnodes = ["a b"]', "no pattern"),
        ('secret_file = "secret"', 'secret_file = "none"', "cannot be read"),
        ('secret_file = "secret"', 'secret_file = "se\\u0000cret"', "cannot be the name of a file"),
        ("/plant", "/plänt", "letters beyond ASCII"),
        ("/plant", "/plant\\nx", "no address"),
        ("[provider]", "[provider", "cannot be used"),
        ("[provider]", f"deep = {'[' * 5000}", "cannot be used"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, sentence: str, folder: Path) -> None:
    assert sentence in wrong(folder, GOOD.replace(old, new, 1))


def test_a_secret_of_the_environment_is_not_that_of_programs_that_the_cloud_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / FILE).write_text(GOOD.replace('secret_file = "secret"', ""))
    monkeypatch.setenv(SECRET, "hush")

    def make() -> Any:
        return nullcontext()

    assert "fogline.example.org" in people_page_of(folder, make).hint
    assert SECRET not in os.environ
