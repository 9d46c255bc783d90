"""Charts as values, and as SVG that a page holds: titled, described, in colours that the
colour-blind tell apart and that a dark page redefines.

A chart is drawn in units of a phone's pixels; the page enlarges it. Pictures of the same charts are
drawn by plots.
"""

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from headstart.report.style import DASHES

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 66, 22, 12, 44  # around the plot
ROW, NAMES = 21, 168  # of a chart of rows: its height, and the room for its names
COLOURS = 8  # --c0 to --c7 of the page
SHAPES = 4
NAMED = 16  # letters of a name at the end of its line
LETTERS = 7.0  # pixels wide, on average at most


@dataclass(frozen=True)
class Line:
    """x, y: of the points, y nan where there is none. low, high: ends of their intervals, a band
    around what is only a line. kind: "line", "dots", or "both". faint: one of many, behind all.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    kind: str = "line"
    faint: bool = False


@dataclass(frozen=True)
class LineChart:
    """about: what it shows, in a sentence. spoken: the rest, for those who do not see it.
    x_share, y_share: whether these are shares, told in percent. x_whole: whether x are whole
    numbers. diagonal: what would be right, or chance. marks: x that matter, and why. direct:
    whether names stand at the ends of their lines, and not below them all.
    """

    title: str
    about: str
    x_title: str
    y_title: str
    lines: Sequence[Line]
    x_share: bool = False
    y_share: bool = False
    x_whole: bool = False
    x_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    diagonal: bool = False
    marks: Sequence[tuple[float, str]] = ()
    direct: bool = False
    spoken: str = ""


@dataclass(frozen=True)
class Row:
    """values: by series value and interval. group: rows of one group lie on one ground. strong: the
    one that was chosen. note: a few words at its end.
    """

    name: str
    values: Sequence[tuple[str, float, tuple[float, float] | None]]
    group: str = ""
    strong: bool = False
    note: str = ""


@dataclass(frozen=True)
class RowChart:
    """Shares with their intervals, a row for each name. signed: they are differences of shares."""

    title: str
    about: str
    x_title: str
    rows: Sequence[Row]
    signed: bool = False

    @property
    def series(self) -> list[str]:
        """The names of the series, in their first order."""
        return list(dict.fromkeys(name for row in self.rows for name, _, _ in row.values))


@dataclass(frozen=True)
class ScatterChart:
    """points: x, y, number of the class, and what it is called. pictures: x, y, number of the class
    and the id of an image that the page holds.
    """

    title: str
    about: str
    classes: Sequence[str]
    points: Sequence[tuple[float, float, int, str]]
    pictures: Sequence[tuple[float, float, int, str]] = field(default=())


Chart = LineChart | RowChart | ScatterChart


@dataclass(frozen=True)
class Picture:
    """Charts side by side under one title. about: of which photos and run it is, and what was
    chosen why.
    """

    title: str
    about: str
    charts: Sequence[Chart]


def draw(chart: Chart, identity: str) -> str:
    """The <svg> of a chart; `identity`: of its title and description in the page."""
    if isinstance(chart, LineChart):
        size, body = _draw_lines(chart)
    elif isinstance(chart, RowChart):
        size, body = _draw_rows(chart)
    else:
        size, body = _draw_scatter(chart)
    spoken = chart.spoken if isinstance(chart, LineChart) else ""
    title, about = escape(chart.title), escape(f"{chart.about} {spoken}".strip())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {size[0]} {size[1]}" '
        f'width="{size[0]}" height="{size[1]}" role="img" '
        f'aria-labelledby="{identity}-t {identity}-d">'
        f'<title id="{identity}-t">{title}</title><desc id="{identity}-d">{about}</desc>'
        f"{''.join(body)}</svg>"
    )


def standalone(chart: Chart, style: str, about: str = "") -> str:
    """The chart as a file of its own, with the page's colours, its title and what it is of."""
    svg = draw(chart, "chart")
    lines = [chart.title, *textwrap.wrap(about, int(WIDTH / LETTERS))]
    head, _, rest = svg.partition("<title")
    names, _, body = rest.partition("</desc>")
    found = re.search(r'viewBox="0 0 (\d+) (\d+)" width="\d+" height="(\d+)"', head)
    assert found is not None
    width, height, top = int(found[1]), int(found[2]), 20 * len(lines) + 8
    head = head.replace(found[0], f'viewBox="0 0 {width} {height + top}" width="{width}" '
                        f'height="{height + top}"')  # fmt: skip
    told = "".join(
        _write(4, 18 + 20 * number, shorten(line, int(width / LETTERS)),
               kind="soft" if number else "strong")
        for number, line in enumerate(lines)
    )  # fmt: skip
    moved = body.removesuffix("</svg>")
    ground = '<rect width="100%" height="100%" style="fill:var(--paper)"/>'
    return (f'{head}<style>{style}</style><title{names}</desc>{ground}{told}'
            f'<g transform="translate(0 {top})">{moved}</g></svg>\n')  # fmt: skip


def shorten(text: str, letters: int) -> str:
    """`text` with its middle left out where it has too many letters."""
    if len(text) <= letters:
        return text
    kept = letters - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


@dataclass(frozen=True)
class Scale:
    """From values to places of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-300))
        share = (value - low) / (high - low or 1)
        return round(self.start + (self.end - self.start) * min(1.02, max(-0.02, share)), 1)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values between the ends."""
        if self.log:
            first, last = math.log10(self.low), math.log10(self.high)
            if last - first >= 2:
                every = math.ceil((last - first) / most)
                return [10.0**k for k in range(math.ceil(first), math.floor(last) + 1, every)]
            powers = [10.0**k for k in range(math.floor(first), math.ceil(last) + 1)]
            round_ones = [m * power for power in powers for m in (1, 2, 5)]
            return [v for v in round_ones if self.low * 0.999 <= v <= self.high * 1.001]
        span = (self.high - self.low) or 1.0
        rough = span / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
        least = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(least, math.floor(self.high / step + 1e-9) + 1)]


def tell(value: float, share: bool, signed: bool = False) -> str:
    """A number at an axis."""
    if signed:
        return f"{100 * value:+.4g}%" if round(value, 9) else "0"
    if share:
        return f"{100 * value:.4g}%"
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 1 else f"{value:.4g}"


def _draw_lines(chart: LineChart) -> tuple[tuple[int, int], list[str]]:
    (low_x, high_x), (low_y, high_y) = ranges(chart)
    named = max((LETTERS * len(shorten(line.name, NAMED)) for line in chart.lines), default=0)
    right = RIGHT + (named if chart.direct else 0)
    across = Scale(low_x, high_x, LEFT, round(WIDTH - right), chart.x_log)
    up = Scale(low_y, high_y, HEIGHT - BOTTOM, TOP)
    body = [*_axes(across, up, chart)]
    if chart.diagonal:
        body.append(
            f'<line class="aid" x1="{across(low_x)}" y1="{up(low_x)}" x2="{across(high_x)}" '
            f'y2="{up(high_x)}"/>'
        )
    for number, (where, words) in enumerate(chart.marks):
        x = across(where)
        anchor, shift = ("end", -5) if x > WIDTH / 2 else ("start", 5)
        body.append(f'<line class="aid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        body.append(_write(x + shift, TOP + 11 + 15 * number, words, anchor))
    for number, line in enumerate(chart.lines):
        body += _draw_line(line, number, across, up)
    if chart.direct:
        ends = last_points(chart)
        beside = spread([up(y) for _, y in ends], 14, [x for x, _ in ends])
        for line, (x, _), y in zip(chart.lines, ends, beside, strict=True):
            kind = "soft" if line.faint else ""
            body.append(_write(across(x) + 7, y + 4, shorten(line.name, NAMED), kind=kind))
    dots = all(line.kind == "dots" for line in chart.lines)
    names = [line.name for line in chart.lines]
    legend, height = _legend(names, HEIGHT, len(names) > 1 and not chart.direct, dots=dots)
    return (WIDTH, height), body + legend


def _draw_line(line: Line, number: int, across: Scale, up: Scale) -> Iterator[str]:
    if line.faint:
        yield from _draw_faint(line, across, up)
        return
    colour = number % COLOURS
    places = [
        (across(x), up(y))
        for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y) and math.isfinite(x)
    ]  # fmt: skip
    if line.low and line.kind == "line":
        ends = [*zip(line.x, line.low, strict=True),
                *zip(reversed(line.x), reversed(line.high), strict=True)]  # fmt: skip
        around = " ".join(f"{across(x):g},{up(y):g}" for x, y in ends)
        yield f'<polygon class="f{colour} around" points="{around}"/>'
    for x, low, high in zip(line.x, line.low, line.high, strict=False):
        if line.kind == "line":
            break
        yield (f'<line class="k{colour} thin" x1="{across(x)}" x2="{across(x)}" y1="{up(low)}" '
               f'y2="{up(high)}"/>')  # fmt: skip
    if line.kind != "dots":
        points = " ".join(f"{x:g},{y:g}" for x, y in places)
        dash = DASHES[number % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        yield f'<polyline class="k{colour} line" points="{points}"{dashed}/>'
    if line.kind != "line":
        for x, y in places:
            yield mark_at(x, y, number)


def _draw_faint(line: Line, across: Scale, up: Scale) -> Iterator[str]:
    points = " ".join(f"{across(x):g},{up(y):g}" for x, y in zip(line.x, line.y, strict=True))
    yield f'<polyline class="grid line" points="{points}"/>'


def mark_at(x: float, y: float, number: int, size: float = 4.0) -> str:
    """A mark whose colour and shape tell a series: circle, square, triangle, diamond."""
    name, r = f"f{number % COLOURS}", size
    match (number + number // COLOURS) % SHAPES:  # 32 pairs of colour and shape
        case 0:
            return f'<circle class="{name}" cx="{x:g}" cy="{y:g}" r="{r:g}"/>'
        case 1:
            s = 0.88 * r
            return (f'<rect class="{name}" x="{x - s:.1f}" y="{y - s:.1f}" width="{2 * s:.1f}" '
                    f'height="{2 * s:.1f}"/>')  # fmt: skip
        case 2:
            return (f'<path class="{name}" d="M{x:g} {y - 1.15 * r:.1f}l{1.1 * r:.1f} '
                    f'{1.95 * r:.1f}h{-2.2 * r:.1f}z"/>')  # fmt: skip
        case _:
            d = 1.2 * r
            return (f'<path class="{name}" d="M{x:g} {y - d:.1f}l{d:.1f} {d:.1f}l{-d:.1f} {d:.1f}'
                    f'l{-d:.1f} {-d:.1f}z"/>')  # fmt: skip


def _axes(across: Scale, up: Scale, chart: LineChart) -> Iterator[str]:
    left, right, floor = across.start, across.end, up.start
    for value in up.ticks():
        y = up(value)
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
        yield _write(left - 6, y + 4, tell(value, chart.y_share), "end")
    for value in across.ticks():
        if not chart.x_whole or value == round(value):
            yield _write(across(value), floor + 16, tell(value, chart.x_share), "middle")
    yield f'<line class="axis" x1="{left}" x2="{right}" y1="{floor}" y2="{floor}"/>'
    yield _write((left + right) / 2, floor + 35, chart.x_title, "middle", "soft")
    middle = (up.start + up.end) / 2
    turned = _write(0, 0, chart.y_title, "middle", "soft")
    yield f'<g transform="translate(13 {middle}) rotate(-90)">{turned}</g>'


def _write(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{named}>{escape(words)}</text>'


def _draw_rows(chart: RowChart) -> tuple[tuple[int, int], list[str]]:
    series = chart.series
    low, high = row_range(chart)
    noted = max((LETTERS * len(row.note) for row in chart.rows), default=0)
    longest = max((LETTERS * len(row.name) for row in chart.rows), default=0)
    names = round(min(NAMES, max(60, longest + 4)))
    across = Scale(low, high, names + 8, round(WIDTH - RIGHT - noted))
    ticks = across.ticks(max(2, round((across.end - across.start) / 50)))
    top, bottom = 6, 6 + ROW * len(chart.rows)
    body, groups = [], 0
    for number, row in enumerate(chart.rows):
        y = top + ROW * number
        groups += number == 0 or row.group != chart.rows[number - 1].group
        if groups % 2 == 0:
            body.append(f'<rect class="band" x="0" y="{y}" width="{WIDTH}" height="{ROW}"/>')
    for value in ticks:
        x = across(value)
        body.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        body.append(_write(x, bottom + 16, tell(value, True, chart.signed), "middle"))
    if chart.signed:
        zero = across(0)
        body.append(f'<line class="aid" x1="{zero}" x2="{zero}" y1="{top}" y2="{bottom}"/>')
    for number, row in enumerate(chart.rows):
        middle = top + ROW * (number + 0.5)
        name = shorten(row.name, int(names / (LETTERS + row.strong)))
        body.append(_write(names, middle + 4.5, name, "end", "strong" if row.strong else ""))
        if row.note:
            body.append(_write(WIDTH - RIGHT - noted + 8, middle + 4.5, row.note, kind="soft"))
        for place, (of, value, ends) in enumerate(row.values):
            at = round(middle + (place - (len(row.values) - 1) / 2) * 5, 1)
            index = series.index(of)
            if ends:
                body.append(f'<line class="k{index % COLOURS} thin" x1="{across(ends[0])}" '
                            f'x2="{across(ends[1])}" y1="{at}" y2="{at}"/>')  # fmt: skip
            body.append(mark_at(across(value), at, index, 3.6))
    body.append(
        _write((across.start + across.end) / 2, bottom + 35, chart.x_title, "middle", "soft")
    )
    legend, height = _legend(series, bottom + BOTTOM, len(series) > 1, dots=True)
    return (WIDTH, height), body + legend


def _draw_scatter(chart: ScatterChart) -> tuple[tuple[int, int], list[str]]:
    edge = 4
    side = WIDTH - 2 * edge
    every = [*chart.points, *chart.pictures]
    xs, ys = [p[0] for p in every], [p[1] for p in every]
    margin = 22 if chart.pictures else 6
    across = Scale(min(xs), max(xs), edge + margin, WIDTH - edge - margin)
    up = Scale(min(ys), max(ys), edge + side - margin, edge + margin)
    body = [f'<rect class="frame" x="{edge}" y="{edge}" width="{side}" height="{side}"/>']
    size = 4.0 if len(chart.points) < 600 else 2.8
    body += [mark_at(across(x), up(y), c, size) for x, y, c, _ in chart.points]
    for x, y, c, name in chart.pictures:
        left, top = across(x) - 18, up(y) - 18
        body.append(
            f'<use href="#{name}" x="{left:.1f}" y="{top:.1f}" width="36" height="36"/>'
            f'<rect class="k{c % COLOURS} edge" x="{left:.1f}" y="{top:.1f}" width="36" '
            'height="36"/>'
        )
    used = sorted({p[2] for p in every})
    names = [chart.classes[number] for number in used]
    legend, height = _legend(names, WIDTH, True, dots=True, numbers=used)
    return (WIDTH, height), body + legend


def _legend(
    names: Sequence[str],
    top: int,
    wanted: bool,
    *,
    dots: bool = False,
    numbers: Sequence[int] | None = None,
) -> tuple[list[str], int]:
    """Names beside their marks, below the plot; and the height of all."""
    if not wanted:
        return [], top
    longest = max(map(len, names), default=0)
    columns = 3 if longest <= 14 else 2 if longest <= 24 else 1
    room = (WIDTH - 20) // columns
    body = []
    for place, name in enumerate(names):
        number = numbers[place] if numbers else place
        x, y = 14 + room * (place % columns), top + 8 + 18 * (place // columns)
        if dots:
            body.append(mark_at(x + 8, y, number))
        else:
            dash = DASHES[number % len(DASHES)]
            body.append(
                f'<line class="k{number % COLOURS} line" x1="{x - 4}" x2="{x + 20}" y1="{y}" '
                f'y2="{y}" stroke-dasharray="{dash or "none"}"/>'
            )
        body.append(_write(x + 26, y + 4.5, shorten(name, int((room - 30) / LETTERS))))
    return body, top + 18 * math.ceil(len(names) / columns) + 6


def ranges(chart: LineChart) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of the axes."""
    known_x = [x for line in chart.lines for x in line.x if math.isfinite(x)]
    known_y = [
        y for line in chart.lines for ys in (line.y, line.low, line.high) for y in ys
        if math.isfinite(y)
    ]  # fmt: skip
    return (
        chart.x_range or (min(known_x, default=0), max(known_x, default=1)),
        chart.y_range or _round_out(known_y, chart.y_share),
    )


def row_range(chart: RowChart) -> tuple[float, float]:
    """Ends of the axis of a chart of rows."""
    known = [
        v for row in chart.rows for _, value, ends in row.values for v in (value, *(ends or ()))
    ]
    if not chart.signed:
        return _round_out(known, True)
    low, high = min([0.0, *known]), max([0.0, *known])
    room = max(0.06 * (high - low), 0.005)
    return low - room, high + room


def last_points(chart: LineChart) -> list[tuple[float, float]]:
    """Where each line ends; one without a known point at the lower left."""
    (low_x, _), (low_y, _) = ranges(chart)
    return [
        next(((x, y) for x, y in zip(reversed(line.x), reversed(line.y), strict=True)
              if math.isfinite(y)), (low_x, low_y))
        for line in chart.lines
    ]  # fmt: skip


def spread(
    places: Sequence[float], least: float, columns: Sequence[float] | None = None
) -> list[float]:
    """The places moved as little as may be (in squares) so that in their order neighbours are
    `least` apart: isotonic regression of what is left when their distances are taken off.
    columns: only those of the same one are neighbours.
    """
    columns = columns or [0.0] * len(places)
    order = sorted(range(len(places)), key=lambda i: (columns[i], places[i]))
    moved = list(places)
    for column in dict.fromkeys(columns):
        inside = [i for i in order if columns[i] == column]
        blocks: list[list[float]] = []  # sum and count of places that are moved together
        for rank, i in enumerate(inside):
            blocks.append([places[i] - rank * least, 1])
            while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
                total, count = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += count
        level = [total / count for total, count in blocks for _ in range(int(count))]
        for rank, i in enumerate(inside):
            moved[i] = level[rank] + rank * least
    return moved


def _round_out(values: Sequence[float], share: bool) -> tuple[float, float]:
    """Ends of an axis that all values lie between."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = max(0.06 * (high - low), 0.005 if share else 1e-6)
    if share:
        return max(0.0, low - room), min(1.0, high + room)
    return (0.0 if low >= 0 and low < 0.5 * high else low - room), high + room
