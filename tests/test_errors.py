"""What all messages about unreadable files have in common."""

import pytest

from headstart.errors import cannot_read


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "No such file or directory"),
        (ValueError("\n  bad thing.\nand more of it"), "bad thing"),
        (EOFError(), "EOFError"),
        ("no model.bin", "no model.bin"),
    ],
)
def test_expected_found_and_what_to_type(error: object, reason: str) -> None:
    text = cannot_read("a.toml", error, "a recipe", "Type: headstart recipe")
    assert text == f"cannot read a.toml: expected a recipe, found: {reason}. Type: headstart recipe"
