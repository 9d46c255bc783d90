"""The screens of docs/: what commands print in a terminal of 80 and of 120 letters, as SVG that is
light or dark as whoever shows it; and the terminal beside the page of a run, for the README.

    python bench/screens.py PHOTOS --out docs/images/screens [--chromium chromium]

PHOTOS: ants and bees of the PyTorch tutorial were taken. One JSON line a screen: letters of its
widest line. It trains anew, with a cache of its own, twice (the second time to be compared).
"""

import argparse
import fcntl
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text

WIDTHS = (80, 120)
COMMANDS = {
    "train": "train photos/ --out runs/photos-1",
    "predict": "predict runs/photos-1 new_photos/ --accuracy 0.99",
    "evaluate": "evaluate runs/photos-1 other_labelled_photos/",
    "compare": "compare runs/photos-1 runs/photos-2",
    "remedies": "remedies runs/photos-1 --budget 60s",
    "doctor": "doctor",
}
# No font is fetched; the monospaced one of whoever looks serves.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)


def type_in(command: str, width: int, folder: Path) -> str:
    """What a command prints into a terminal of so many letters, colours and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm-256color",
                   "HEADSTART_CACHE": str(folder / "cache")}  # fmt: skip
    words = [sys.executable, "-m", "headstart", *command.split()]
    complaints = folder / "stderr"
    with (
        complaints.open("wb") as kept,
        subprocess.Popen(words, cwd=folder, stdout=theirs, stderr=kept, env=environment) as process,
    ):
        os.close(theirs)
        printed = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            printed += part
    os.close(ours)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}:\n{complaints.read_text()}")
    return printed.decode().replace("\r\n", "\n")


def draw(command: str, printed: str, width: int) -> str:
    """The screen as SVG, its colours light or dark as whoever shows it."""
    both = []
    for theme in (DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME):
        console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
        console.print(Text.from_ansi(printed))
        both.append(console.export_svg(title=f"headstart {command}", theme=theme,
                                       code_format=FORMAT, unique_id="screen"))  # fmt: skip
    light, dark = both
    others = iter(re.findall(r"#[0-9a-fA-F]{6}\b", dark))
    mixed = re.sub(r"#[0-9a-fA-F]{6}\b", lambda m: f"light-dark({m[0]}, {next(others)})", light)
    mixed = re.sub(r' fill="(light-dark\([^"]*\))"', r' style="fill: \1"', mixed)
    return mixed.replace("<style>", "<style>:root { color-scheme: light dark }", 1)


def photograph(chromium: str, page: Path, target: Path, width: int, height: int) -> Image.Image:
    """A page or SVG as a browser shows it, at one and a half times the pixels."""
    subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu",
         "--allow-file-access-from-files", "--force-device-scale-factor=1.5",
         f"--window-size={width},{height}",
         f"--screenshot={target}", page.resolve().as_uri()],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return Image.open(target)


def put_beside(terminal: Path, page: Path, chromium: str, target: Path) -> None:
    """The screen and the top of the page beside it, as one picture."""
    both = target.with_suffix(".html")
    both.write_text(
        "<body style='margin:0;display:flex;gap:12px;background:#fff;align-items:flex-start'>"
        f"<img src='{terminal.resolve().as_uri()}' width='700' style='padding:6px'>"
        f"<iframe src='{page.resolve().as_uri()}' width='1020' height='540' style='border:0'>"
        "</iframe></body>"
    )
    photographed = photograph(chromium, both, target, 1760, 540)
    photographed.convert("RGB").quantize(96).save(target, optimize=True)
    both.unlink()


def prepare(photos: Path, folder: Path) -> None:
    """photos/, and of its validation side new_photos/ and other_labelled_photos/."""
    shutil.copytree(photos, folder / "photos")
    side = next(path for name in ("val", "validation")
                if (path := folder / "photos" / name).is_dir())  # fmt: skip
    shutil.copytree(side, folder / "other_labelled_photos")
    (folder / "new_photos").mkdir()
    for path in sorted(side.glob("*/*"))[::8]:
        shutil.copy(path, folder / "new_photos")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/screens"))
    parser.add_argument("--only", nargs="*", default=list(COMMANDS))
    parser.add_argument("--chromium", help="for the terminal beside the page")
    typed = parser.parse_args()
    typed.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(typed.photos, folder)
        type_in("train photos/ --out runs/photos-1", 80, folder)
        type_in("train photos/ --out runs/photos-2 --cut last", 80, folder)
        for number, (label, command) in enumerate(COMMANDS.items()):
            if label not in typed.only:
                continue
            for width in WIDTHS:
                line = command
                if label == "train":
                    line = command.replace("photos-1", f"shown-{width}")
                printed = type_in(line, width, folder).replace(f"shown-{width}", "photos-1")
                printed = printed.replace(str(folder), "~")
                shown = "train photos/" if label == "train" else command
                svg = draw(shown, printed, width)
                (typed.out / f"{label}-{width}.svg").write_text(svg)
                widest = max(map(len, Text.from_ansi(printed).plain.splitlines()), default=0)
                print(json.dumps({"screen": number, "command": shown, "width": width,
                                  "widest": widest}))  # fmt: skip
        if typed.chromium:
            put_beside(typed.out / "train-80.svg", folder / "runs" / "photos-1" / "report.html",
                       typed.chromium, typed.out.parent / "terminal-and-page.png")  # fmt: skip


if __name__ == "__main__":
    main()
