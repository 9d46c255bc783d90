"""Text from outside is shown and written as what it is."""

import json

import pytest

from headstart.system.json import dumps
from headstart.system.text import describe, escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("K\u00e4se \u732b \U0001f600 a\\x1b", "K\u00e4se \u732b \U0001f600 a\\x1b"),
        ("\x1b[31m\x07\x7f\x9b", "\\x1b[31m\\x07\\x7f\\x9b"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\u202aa\u202e\u2066b\u2069", "\\u202aa\\u202e\\u2066b\\u2069"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("caf\udce9 \ud800 \udfff", "caf\\xe9 \\ud800 \\udfff"),
        ("\u05d0\u200f\u200d", "\u05d0\u200f\u200d"),  # marks that words need stay
    ],
)  # fmt: skip
def test_what_is_not_to_be_shown_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown
    assert escape(shown) == shown
    assert escape(text).encode()


def test_line_ends_and_tabs_may_stay() -> None:
    assert escape("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"


@pytest.mark.parametrize("text", ["\x1b\x7f\x9b", "\u2028\u202e\u2069", "\ud800 \udce9", "\n"])
def test_json_holds_every_text_and_gives_it_back(text: str) -> None:
    for indent in (None, 2):
        written = dumps({text: [text]}, indent=indent)
        assert written.encode()
        assert json.loads(written) == {text: [text]}
        assert not set(text) - {" "} & set(written.replace("\n", ""))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("short", "'short'"),
        ("x" * 100_000, f"'{'x' * 40}'..."),
        ("\ud800\x1b", "'\\ud800\\x1b'"),
        (b"\xff\xd8" * 70_000, "140,000 bytes"),
        ({"bytes": b"secret"}, "an object"),
        ([b"secret"] * 3, "a list of 3"),
        (None, "None"),
        (1.5, "1.5"),
        (object(), "a value of type object"),
    ],
)
def test_a_value_is_told_without_what_it_holds(value: object, told: str) -> None:
    assert describe(value) == told
