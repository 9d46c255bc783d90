"""Addresses as text, and the keys in them."""

from pathlib import Path

import pytest

from headstart.data import address as module
from headstart.data.address import (
    check_address,
    clean,
    drop_keys,
    file_name,
    hide,
    join,
    note,
    parent,
    put_keys_away,
    read_address,
    to_place,
    with_keys,
)
from headstart.errors import DatasetError


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_keys", {})


def test_what_an_address_is() -> None:
    assert read_address(Path("s3://bucket/photos")) == "s3://bucket/photos"
    assert read_address("S3:/bucket/photos") == "s3://bucket/photos"
    assert read_address(to_place("s3://bucket/photos")) == "s3://bucket/photos"
    assert read_address("photos/s3") is None
    assert read_address("C:/photos") is None
    assert read_address(3) is None
    assert str(to_place("s3://bucket/photos/")) == f"{to_place('s3:/bucket/photos')}"
    assert str(to_place("photos/1")) == str(Path("photos/1"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@host/a.jpg?key=secret", "https://host/a.jpg"),
        ("https://host:80/a@2x.jpg", "https://host:80/a@2x.jpg"),
        ("s3://ID:sec/ret@bucket/a", "s3://bucket/a"),
        ("s3://bucket/a@2x.jpg?secret", "s3://bucket/a@2x.jpg"),
        (
            "abfs://photos:secret@me.dfs.core.windows.net/a",
            "abfs://photos@me.dfs.core.windows.net/a",
        ),
        ("az://photos/a", "az://photos/a"),
        ("s3://anonymous@bucket/a?secret", "s3://anonymous@bucket/a"),
        ("hf://datasets/me/photos@main/a", "hf://datasets/me/photos@main/a"),
    ],
)
def test_no_keys_are_shown(address: str, shown: str) -> None:
    assert hide(address) == shown
    assert clean(f"cannot open '{address}'\nor that") == f"cannot open '{shown}'"


def test_keys_are_put_away_and_found_again() -> None:
    typed = "s3://ID:secret@bucket/a?region=x&access_key=secret"
    assert put_keys_away(typed) == "s3://bucket/a?region=x"
    assert with_keys("s3://bucket/a/1.jpg?region=x") == (
        "s3://ID:secret@bucket/a/1.jpg?region=x&access_key=secret"
    )
    assert with_keys(typed) == typed
    assert with_keys("s3://other/a?region=x") == "s3://other/a?region=x"
    assert with_keys("s3://bucket/a") == "s3://bucket/a"  # in another place perhaps
    assert note("s3://b/a?endpoint_override=http://me:secret@host&scheme=http") == (
        "s3://b/a?scheme=http"
    )


def test_keys_of_web_addresses() -> None:
    first, second = (put_keys_away(f"https://host/a.csv?id={n}") for n in (1, 2))
    assert (first, second) == ("https://host/a.csv", "https://host/a.csv#2")
    assert put_keys_away("https://host/a.csv?id=1") == first
    assert [put_keys_away(one) for one in (first, second)] == [first, second]
    assert [with_keys(one) for one in (first, second)] == [
        "https://host/a.csv?id=1", "https://host/a.csv?id=2"
    ]  # fmt: skip


def test_what_was_typed_where_no_address_goes_is_told_without_its_key() -> None:
    assert drop_keys("no backbone s3://ID:se/cret@b/a?x.") == "no backbone s3://b/a?x."
    assert drop_keys("http://host:80/a@2x.jpg") == "http://host:80/a@2x.jpg"


def test_parts() -> None:
    assert join("s3://b/a/?q", "1.jpg") == "s3://b/a/1.jpg?q"
    assert parent("s3://b/a/1.jpg?q") == "s3://b/a?q"
    assert file_name("s3://b/a/1.jpg?q/r") == "1.jpg"
    with pytest.raises(DatasetError, match=r"begins with s3, gs, .*found ftp://host/a\. "):
        check_address("ftp://me:secret@host/a")
