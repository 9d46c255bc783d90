"""headstart audit: what is wrong with the images, before anything is learned from them."""

import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Groups,
    Photos,
    Quiet,
    Seed,
    Settings,
    Weights,
    collect_choices,
    parse_path,
)
from headstart.cli.output import line_width, print_json, reporter, tell, tell_command

if TYPE_CHECKING:
    from headstart.audit.audit import Audit
    from headstart.audit.findings import Finding

SHOWN = 5  # findings of a kind that are printed
DRAWN = 40  # that are drawn


@app.command(epilog="Example: headstart audit photos/ --fail-on leak,label")
@command
def audit(
    photos: Photos,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on", metavar="KIND,KIND", help="Exit code 1 if one of these is found."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_path,
            metavar="FOLDER",
            help="Write findings.json, a draft of decisions and pictures there.",
        ),
    ] = None,
    weights: Weights = None,
    groups: Groups = None,
    seed: Seed = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with the images: wrong labels, copies, leaks, flaws, shortcuts."""
    failing = _parse_kinds(fail_on)
    from headstart.audit.audit import audit as look_through

    progress = reporter(quiet, as_json)
    choices = collect_choices(settings, weights=weights, groups=groups, seed=seed)
    found = look_through(photos, progress=progress, **choices)
    written = _write(found, out) if out is not None else []
    if as_json:
        print_json({**found.to_dict(), "written": list(map(str, written)),
                    "warnings": progress.warnings})  # fmt: skip
    else:
        _print(found, quiet)
        if written:
            tell(*([] if quiet else [""]), *written)
        elif found.findings and not quiet:
            tell()
            tell_command("Next: ", f"headstart audit {shlex.quote(str(photos))} --out audit",
                         "a draft of decisions, with pictures")  # fmt: skip
    if any(found.of(kind) for kind in failing):
        raise typer.Exit(1)


def _parse_kinds(text: str | None) -> list[str]:
    from headstart.audit.findings import KINDS

    kinds = [part.strip() for part in (text or "").split(",") if part.strip()]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or (text is not None and not kinds):
        found = repr(unknown[0]) if unknown else "none"
        raise typer.BadParameter(
            f"--fail-on: expected kinds among {', '.join(KINDS)}, found {found}. "
            "Type: --fail-on leak,label"
        )
    return kinds


def _print(found: "Audit", quiet: bool) -> None:
    from headstart.audit.findings import SEVERITIES, worst

    counts = {s: sum(f.severity == s for f in found.findings) for s in SEVERITIES}
    told = ", ".join(f"{n:,} {s}{'s' * (n > 1)}" for s, n in counts.items() if n) or "nothing found"
    tell(f"{found.images:,} images: {told}")
    if quiet:
        return
    for kind in dict.fromkeys(finding.kind for finding in found.findings):
        findings = found.of(kind)
        tell(f"\n{worst(findings)}: {_title(kind, len(findings))}")
        for finding in findings[:SHOWN]:
            _print_finding(finding, found)
        if len(findings) > SHOWN:
            tell(f"  ... {len(findings) - SHOWN:,} more")
        for advice in dict.fromkeys(finding.advice for finding in findings[:SHOWN]):
            _wrapped(advice, "  > ", "    ")


def _title(kind: str, count: int) -> str:
    from headstart.audit.findings import KINDS

    one, many = KINDS[kind]
    return f"{count:,} {one if count == 1 else many}"


def _print_finding(finding: "Finding", found: "Audit") -> None:
    names = [found.paths[item] for item in finding.items]
    more = f" = {len(names) - 3:,} more" if len(names) > 3 else ""
    if names:
        tell("  " + " = ".join(names[:3]) + more)
    _wrapped(finding.evidence, "    " if names else "  ", "    ")


def _wrapped(text: str, first: str, rest: str) -> None:
    width = min(line_width() or 80, 100)
    tell(textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest))


def _write(found: "Audit", folder: Path) -> list[Path]:
    """findings.json, a draft of decisions, and a picture of each kind that is about images."""
    import csv
    import io

    from headstart.data.decisions import HEADER, NAME
    from headstart.system.atomic import write_atomically
    from headstart.system.json import dumps

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "findings.json"]
    write_atomically(written[0], (dumps(found.to_dict(), indent=1) + "\n").encode())
    draft = io.StringIO()
    csv.writer(draft, lineterminator="\n").writerows([HEADER, *found.suggest()])
    written.append(folder / NAME)
    write_atomically(written[-1], draft.getvalue().encode())
    for kind in dict.fromkeys(f.kind for f in found.findings if f.items and f.kind != "unreadable"):
        findings = found.of(kind)
        written.append(folder / f"{kind}.png")
        write_atomically(written[-1], _draw(_title(kind, len(findings)), findings[:DRAWN], found))
    return written


def _draw(title: str, findings: "Iterable[Finding]", found: "Audit") -> bytes:
    import io

    from PIL import Image

    from headstart.errors import BadImage
    from headstart.images.geometry import Geometry
    from headstart.report.findings_sheet import ACROSS, SIDE, Row, draw_findings

    geometry = Geometry(SIDE, SIDE, "pad")

    def picture(item: Any) -> Any:
        try:
            return item.prepare(geometry)
        except (BadImage, OSError):  # changed meanwhile
            import numpy as np

            return np.full((SIDE, SIDE, 3), 230, np.uint8)

    rows = [
        Row([picture(item) for item in finding.items[:ACROSS]],
            [found.paths[item] for item in finding.items[:ACROSS]], finding.evidence)
        for finding in findings
    ]  # fmt: skip
    png = io.BytesIO()
    Image.fromarray(draw_findings(title, rows)).save(png, "PNG")
    return png.getvalue()
