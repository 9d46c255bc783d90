"""How all pictures and pages look: one ground, one ink, colours that the colour-blind tell apart.

Every colour is a pair, for light and for dark. What is drawn in colour is told apart by shape or
dashes too.
"""

Pair = tuple[str, str]

PAPER: Pair = ("#fcfcfa", "#16181b")
INK: Pair = ("#202124", "#e8e8e4")
SOFT: Pair = ("#55585d", "#a9adb3")
LINE: Pair = ("#d9d9d4", "#3a3d42")
BAND: Pair = ("#f1f1ec", "#1f2226")
STRONG: Pair = ("#0b5cad", "#7cc0ff")

# Okabe and Ito's palette, darkened for 3:1 on white, lightened for 3:1 on black.
PALETTE: tuple[Pair, ...] = (
    ("#0072b2", "#56b4e9"), ("#c65300", "#ff9a4d"), ("#00805d", "#35d0a0"), ("#a04a84", "#e8a0cc"),
    ("#8a6500", "#f0c040"), ("#6b4a2f", "#d0a582"), ("#5a5f66", "#b4b9c0"), ("#00626e", "#7fdbe6"),
)  # fmt: skip
DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4", "4 2 1 2", "3 5")
DPI = 160  # of pictures in pixels


def style_variables() -> str:
    """The colours as variables of a style sheet: --paper, --ink ... and --c0, --c1 ..."""
    named = {"paper": PAPER, "ink": INK, "soft": SOFT, "line": LINE, "band": BAND, "strong": STRONG}
    numbered = {f"c{number}": pair for number, pair in enumerate(PALETTE)}
    return "".join(
        f"--{name}:light-dark({light},{dark});"
        for name, (light, dark) in (named | numbered).items()
    )
