"""Pages that need nothing but themselves: templates, styles, script and pictures in one file.

A strict policy in the page forbids all else: no request leaves it, no other script runs. What is
shown is escaped by the templates; charts escape what they are given.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from headstart.report.charts import Chart, ScatterChart, draw, standalone
from headstart.report.style import style_variables

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **content: Any) -> str:
    """The whole page of a template of this package."""
    style, script = page_style(), _read("script.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )
    page: str = _environment().get_template(template).render(
        policy=policy, style=Markup(style), script=Markup(script), drawn=_drawer(),
        pictured=_with_pictures, **content,
    )  # fmt: skip
    # Names of files may hold halves of letters (surrogates), which no file in UTF-8 can.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def page_style() -> str:
    """The style sheet with the charts' colours."""
    return _read("style.css").replace("--colours: 0;", style_variables())


def chart_file(chart: Chart, about: str) -> str:
    """The chart as an SVG file of its own, light or dark as its viewer is. about: what it is of."""
    return standalone(chart, page_style(), about)


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "share": lambda value: "" if value is None else f"{value:.1%}",
        "ends": lambda ends: "" if not ends else f"{ends[0]:.1%} to {ends[1]:.1%}",
        "sentence": _end,
        "thousands": lambda value: f"{value:,}",
    }
    return environment


def _end(text: str) -> str:
    """The words as a sentence: a capital first, unless a command stands there, and a full stop."""
    first = text[:1] if text.startswith("headstart") else text[:1].upper()
    return first + text[1:] + "." * (text[-1:] not in ("", ".", "?", "!"))


def _drawer() -> Callable[[Chart], Markup]:
    """Draws charts, each with identities of its own within one page."""
    number = 0

    def drawn(chart: Chart) -> Markup:
        nonlocal number
        number += 1
        return Markup(draw(chart, f"chart{number}"))  # draw() escapes all text

    return drawn


def _with_pictures(
    chart: ScatterChart, pictures: Sequence[tuple[float, float, int, str]]
) -> ScatterChart:
    """The same map with pictures in the place of points."""
    return replace(
        chart, title="The same map in pictures", points=(), pictures=pictures,
        about=f"{len(pictures)} of the images, each where its mark is.",
    )  # fmt: skip


@cache
def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
