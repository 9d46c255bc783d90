"""Text from outside (names, tables, saved files) as it can be shown and written anywhere."""

import re
import textwrap

# What a terminal obeys, what breaks a line, what turns the order of letters around (the
# "Trojan Source" of Boucher and Anderson 2021), and halves of letters, which UTF-8 cannot write.
CONTROL = "\x00-\x1f\x7f-\x9f"
HIDDEN = "\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_NAMES = re.compile(f"[{CONTROL}{HIDDEN}]")
_LINES = re.compile(f"(?![\n\t])[{CONTROL}{HIDDEN}]")


def escape(text: str, *, lines: bool = False) -> str:
    r"""`text` with every letter that is not to be shown or cannot be written as \x1b or \u202e;
    bytes of a file's name that are no UTF-8 as \xe9. lines: line ends and tabs stay.
    """
    return (_LINES if lines else _NAMES).sub(_escape_letter, text)


def shorten(text: str, most: int) -> str:
    """The beginning of at most `most` bytes in UTF-8; `text` itself if it is no longer."""
    written = text.encode("utf-8", "surrogateescape")
    return text if len(written) <= most else written[:most].decode(errors="ignore")


def wrap(text: str, width: int | None, indent: str = "") -> str:
    """`text` with no line longer than `width` letters, broken between words alone: a longer word
    has a line of its own. indent: before what is carried over. width: None for no limit.
    """
    if width is None:
        return text
    return "\n".join(
        textwrap.fill(
            line, max(width, 1), subsequent_indent=indent, break_long_words=False,
            break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True,
        ) if len(line) > width else line
        for line in text.split("\n")
    )  # fmt: skip


def _escape_letter(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode("ascii")


def describe(value: object, most: int = 40) -> str:
    """A value as a message tells it: a text in quotes, of its beginning; a number; of all else only
    what it is, never its content.
    """
    if isinstance(value, str):
        return escape(repr(value[:most])) + ("..." if len(value) > most else "")
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(bytes(value)):,} bytes"
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:most]
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    return "an object" if isinstance(value, dict) else f"a value of type {type(value).__name__}"
