"""The page's languages say the same things, and everything that it says is in them."""

from __future__ import annotations

import re

from fogline.dashboard.app import STATIC

KEY = re.compile(r"""(?:^|[{,]|\s)\s*(?:"([^"]+)"|(\w[\w$]*)):\s*"((?:[^"\\]|\\.)*)\"""", re.M)
USED = re.compile(r"""\bt\("([^"]+)\"""")


def words(language: str) -> dict[str, str]:
    text = (STATIC / "lang" / f"{language}.js").read_text("utf-8")
    return {quoted or plain: said for quoted, plain, said in KEY.findall(text)}


def test_both_languages_have_the_same_words_with_the_same_values_in_them() -> None:
    english, chinese = words("en"), words("zh-Hant")
    assert english.keys() == chinese.keys()
    assert len(english) > 100
    for key, text in english.items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", chinese[key])), key


def test_every_word_of_the_page_is_in_the_dictionary() -> None:
    known = words("en")
    for file in STATIC.glob("*.js"):
        for key in USED.findall(file.read_text("utf-8")):
            assert key in known, (file.name, key)


def test_nothing_is_loaded_from_elsewhere() -> None:
    for file in [*STATIC.glob("*.js"), *STATIC.glob("*.css"), STATIC / "index.html"]:
        for url in re.findall(r"https?://[^\s\"'`)]+", file.read_text("utf-8")):
            raise AssertionError(f"{file.name} names {url}")


def test_what_is_vendored_is_small_and_has_its_licence() -> None:
    vendor = STATIC / "vendor"
    assert sum(file.stat().st_size for file in vendor.iterdir()) < 100_000
    assert "Permission is hereby granted" in (vendor / "uplot-LICENSE").read_text()


def test_all_modules_are_loaded_at_once() -> None:
    """A module that the page does not name is asked for only when the one that needs it is there."""
    page = (STATIC / "index.html").read_text()
    for file in [*STATIC.glob("*.js"), *STATIC.glob("lang/*.js")]:
        assert f'<link rel="modulepreload" href="/static/{file.relative_to(STATIC)}">' in page
