"""Picture: the timeline as SVG, for light and dark pages. One file, no script, no font of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

from dbos_shadow.determinism.failure import DeterminismError
from dbos_shadow.determinism.happenings import Happening, Kind
from dbos_shadow.determinism.story import clock, lines, summary
from dbos_shadow.determinism.timeline import (
    ANSWERS,
    ARRIVALS,
    CALLERS,
    ENDINGS,
    GOES_DOWN,
    Picture,
    Row,
    layout,
)

_STYLE = """
text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328 }
.title { font-size: 20px; font-weight: 650 } .lane { font-size: 12px; font-weight: 600; fill: #59636e }
.small { font-size: 11px; fill: #818b98 } .time, .number { font-size: 11.5px; fill: #818b98; font-variant-numeric: tabular-nums }
.loud { font-weight: 600 } .onfault { fill: #7d4e00; font-weight: 600 } .onbroken { fill: #b3202c; font-weight: 600 }
.page { fill: #ffffff } .line { stroke: #d9dfe6; fill: none } .arrow { stroke: #59636e; fill: none; stroke-width: 1.4 }
.head { fill: #59636e } .band { fill: #dbe9ff } .step { fill: #0b62d6 } .bar { fill: #cfe3d4 }
.good { fill: #1a7f37 } .bad { fill: #cf222e } .soft { fill: #818b98 } .faultrow { fill: #fff4d9 } .brokenrow { fill: #ffeceb }
.badline { stroke: #cf222e; stroke-width: 2.2; fill: none; stroke-linecap: round }
.sign { font-size: 10px; fill: #ffffff; font-weight: 700 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .lane { fill: #9da7b3 } .small, .time, .number { fill: #7d8793 }
  .onfault { fill: #f2c063 } .onbroken { fill: #ff8b85 } .page { fill: #0d1117 } .line { stroke: #2b323b }
  .arrow { stroke: #9da7b3 } .head { fill: #9da7b3 } .band { fill: #16305a } .step { fill: #6cb0ff } .bar { fill: #1d3b28 }
  .good { fill: #3fb950 } .bad { fill: #f85149 } .soft { fill: #7d8793 } .faultrow { fill: #2c2210 } .brokenrow { fill: #351a1c }
  .badline { stroke: #f85149 } .sign { fill: #0d1117 }
}
"""

_MARGIN = 28
_TIME = 84
_ROW, _LINE = 32, 17
_HEAD = 112
_SENTENCE_CHARS = 62
_SENTENCE = 430
_LETTER = 7.2


def svg(error: DeterminismError) -> str:
    """A failure as a picture.

    Args:
        error: what the kit raised.
    """
    return _Drawing(error).whole()


class _Drawing:
    def __init__(self, error: DeterminismError) -> None:
        self._error = error
        self._out: list[str] = []
        picture = layout(error.happenings, error.workflow)
        self._picture: Picture = picture
        lanes = [CALLERS, picture.workflow, *picture.activities]
        widths = [max(96.0, _LETTER * len(lane) + 30) for lane in lanes]
        self._x: list[float] = []
        x = float(_MARGIN + _TIME)
        for width in widths:
            self._x.append(x + width / 2)
            x += width
        self._sentence_x = x + 14
        self._width = self._sentence_x + _SENTENCE + _MARGIN
        sentences = {id(line.happening): (line.number, line.sentence) for line in lines(error.happenings)}
        self._texts = [sentences.get(id(row.happening), (0, "")) for row in picture.rows]
        self._wrapped = [textwrap.wrap(text, _SENTENCE_CHARS) or [""] for _, text in self._texts]
        self._tops: list[float] = []
        y = float(_HEAD)
        for wrapped in self._wrapped:
            self._tops.append(y)
            y += _ROW + _LINE * (len(wrapped) - 1)
        self._bottom = y

    # -- the whole -------------------------------------------------------------------------------------------------------

    def whole(self) -> str:
        height = self._bottom + 56
        title = f"{self._error.workflow} breaks a rule"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width:.0f} {height:.0f}" '
            f'width="{self._width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(title)}">'
        )
        self._out = [head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>"]
        self._rect(0, 0, self._width, height, "page", 10)
        self._text(_MARGIN, 38, self._error.workflow, "title")
        self._text(_MARGIN, 60, f"breaks the rule that {self._error.rule.value}", "lane")
        self._rows_behind()
        self._lanes()
        self._bands()
        self._bars()
        for index, row in enumerate(self._picture.rows):
            self._row(index, row)
        self._text(_MARGIN, height - 24, summary(self._error), "small")
        self._out.append("</svg>")
        return "\n".join(self._out) + "\n"

    def _y(self, index: int) -> float:
        return self._tops[index] + _ROW / 2

    def _rows_behind(self) -> None:
        for index, row in enumerate(self._picture.rows):
            broken = row.happening.kind is Kind.BROKEN
            if broken or row.happening.fault:
                height = _ROW + _LINE * (len(self._wrapped[index]) - 1) - 4
                kind = "brokenrow" if broken else "faultrow"
                self._rect(_MARGIN - 12, self._tops[index] + 2, self._width - 2 * _MARGIN + 24, height, kind, 7)

    def _lanes(self) -> None:
        for x, name in zip(self._x, [CALLERS, self._picture.workflow, *self._picture.activities], strict=True):
            self._text(x, _HEAD - 12, name, "lane", "middle")
            self._out.append(
                f'<path class="line" stroke-dasharray="2 4" d="M{x:.1f} {_HEAD - 4}V{self._bottom - 6:.1f}"/>'
            )

    def _bands(self) -> None:
        """Who has the workflow: one band for each worker."""
        rows, x = self._picture.rows, self._x[1]
        begin, number = 0, 1
        for index, row in enumerate(rows):
            if row.happening.kind in GOES_DOWN or index == len(rows) - 1:
                bottom = self._y(index) + (0 if row.happening.kind in GOES_DOWN else 10)
                top = self._y(begin) - 9 if begin == 0 else self._y(begin) + 9
                self._rect(x - 6, top, 12, max(bottom - top, 8), "band", 6)
                if number > 1:
                    self._text(x + 11, top + 13, f"worker {number}", "small")
                begin, number = index, number + 1

    def _bars(self) -> None:
        """Attempts that are under way."""
        rows = self._picture.rows
        for lane, name in enumerate(self._picture.activities):
            begun: int | None = None
            for index, row in enumerate(rows):
                under_way = name in row.running
                if under_way and begun is None:
                    begun = index
                ends = begun is not None and (not under_way or index == len(rows) - 1)
                if begun is not None and ends:
                    self._rect(self._x[lane + 2] - 5, self._y(begun), 10, self._y(index) - self._y(begun), "bar", 4)
                    if row.happening.kind in GOES_DOWN:
                        self._cross(self._x[lane + 2], self._y(index))
                    begun = None

    # -- one row ---------------------------------------------------------------------------------------------------------

    def _row(self, index: int, row: Row) -> None:
        happening, y = row.happening, self._y(index)
        if index == 0 or self._picture.rows[index - 1].after_ms != row.after_ms:
            self._text(_MARGIN + _TIME - 14, y + 4, clock(row.after_ms), "time", "end")
        number, _ = self._texts[index]
        kind = happening.kind
        tone = "onbroken" if kind is Kind.BROKEN else "onfault" if happening.fault else ""
        if number:
            self._text(self._sentence_x, y + 4.5, str(number), "number", "end")
        for line, text in enumerate(self._wrapped[index]):
            self._text(self._sentence_x + 12, y + 4.5 + line * _LINE, text, tone)
        self._draw(happening, y)

    def _draw(self, happening: Happening, y: float) -> None:
        kind, callers, spine = happening.kind, self._x[0], self._x[1]
        lane = self._lane_x(happening)
        if kind in ARRIVALS:
            self._dot(callers, y, 3.5, "soft")
            self._arrow(callers + 5, spine - 9, y)
        elif kind in ANSWERS:
            self._arrow(spine - 7, callers + 9, y, dashed=True)
            self._dot(callers, y, 3.5, "good" if kind is Kind.ANSWERED else "bad")
        elif kind is Kind.STEP:
            self._dot(spine, y, 5, "step")
        elif kind is Kind.ACTIVITY_STARTED and lane is not None:
            self._arrow(spine + 7, lane - 7, y)
        elif kind in ENDINGS and lane is not None:
            self._arrow(lane - 9, spine + 9, y, dashed=True)
            good = kind is Kind.ACTIVITY_COMPLETED
            self._sign(
                lane, y, "✓" if good else "✕", "good" if good else "soft" if kind is Kind.ACTIVITY_CANCELED else "bad"
            )
        elif kind is Kind.ACTIVITY_HANGS and lane is not None:
            self._sign(lane, y, "…", "soft")
        elif kind in GOES_DOWN:
            self._cross(spine, y)
        elif kind in (Kind.CLOSED, Kind.BROKEN):
            self._rect(spine - 6, y - 6, 12, 12, "bad" if kind is Kind.BROKEN else "step", 2.5)
        elif kind in (Kind.CLOCK, Kind.CLOCK_JUMP):
            self._out.append(f'<path class="line" d="M{_MARGIN} {y:.1f}H{self._sentence_x - 26:.1f}"/>')
        else:
            self._out.append(
                f'<circle class="badline" cx="{spine:.1f}" cy="{y:.1f}" r="6"/>'
                if happening.fault
                else f'<circle class="arrow" cx="{spine:.1f}" cy="{y:.1f}" r="5"/>'
            )

    def _lane_x(self, happening: Happening) -> float | None:
        lane = self._picture.lane(happening.name)
        return self._x[self._picture.activities.index(lane) + 2] if lane in self._picture.activities else None

    # -- marks -----------------------------------------------------------------------------------------------------------

    def _rect(self, x: float, y: float, width: float, height: float, kind: str, radius: float) -> None:
        self._out.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"/>'
        )

    def _text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        if text:
            style = f' class="{kind}"' if kind else ""
            self._out.append(f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def _dot(self, x: float, y: float, radius: float, kind: str) -> None:
        self._out.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>')

    def _sign(self, x: float, y: float, text: str, kind: str) -> None:
        self._dot(x, y, 7.5, kind)
        self._text(x, y + 3.6, text, "sign", "middle")

    def _cross(self, x: float, y: float) -> None:
        self._out.append(f'<path class="badline" d="M{x - 6:.1f} {y - 6:.1f}l12 12M{x - 6:.1f} {y + 6:.1f}l12 -12"/>')

    def _arrow(self, start: float, end: float, y: float, *, dashed: bool = False) -> None:
        way = 1 if end > start else -1
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        self._out.append(f'<path class="arrow"{dashes} d="M{start:.1f} {y:.1f}H{end - way * 5:.1f}"/>')
        self._out.append(f'<path class="head" d="M{end:.1f} {y:.1f}l{-way * 7} -3.6v7.2z"/>')


def page(pictures: Sequence[str]) -> str:
    """Several pictures below each other, as a page for a browser."""
    return "<!doctype html>\n<meta charset=utf-8>\n" + "\n".join(f"<p>{picture}</p>" for picture in pictures)
