"""Timeline: the same story as a picture, in characters. Callers, workflow and activities have a column each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dbos_shadow.determinism.happenings import Happening, Kind
from dbos_shadow.determinism.story import BROKEN, FAULT, clock, in_order

CALLERS = "callers"
OTHERS = "others"
LANES_MAX = 6
"""Activities beyond share the last column."""

ARRIVALS = frozenset({Kind.STARTED, Kind.SIGNAL, Kind.UPDATE, Kind.QUERY, Kind.CANCEL, Kind.DUPLICATE})
ANSWERS = frozenset({Kind.ANSWERED, Kind.REFUSED})
ENDINGS = frozenset({Kind.ACTIVITY_COMPLETED, Kind.ACTIVITY_FAILED, Kind.ACTIVITY_CANCELED, Kind.ACTIVITY_TIMED_OUT})
GOES_DOWN = frozenset({Kind.CRASH, Kind.STALL, Kind.NEW_CODE})
"""After these another worker has the workflow."""


@dataclass(slots=True)
class Row:
    """One line of the picture."""

    happening: Happening
    after_ms: int
    running: frozenset[str]
    """Activity lanes in which an attempt is under way, after this."""
    worker: int
    """Who has the workflow, after this."""


@dataclass(slots=True)
class Picture:
    """A story laid out in lanes; what draws it knows nothing of schedules."""

    workflow: str
    activities: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def lane(self, name: str) -> str:
        """The lane of an activity."""
        return name if name in self.activities else OTHERS


def layout(happenings: Sequence[Happening], workflow: str) -> Picture:
    """Lay a schedule out."""
    happenings = in_order(happenings)
    names = list(dict.fromkeys(h.name for h in happenings if h.kind.value.startswith("activity")))
    picture = Picture(workflow, names if len(names) <= LANES_MAX else [*names[: LANES_MAX - 1], OTHERS])
    running: dict[str, int] = {}
    worker = 1
    begun_ms = happenings[0].at_ms if happenings else 0
    for happening, after in zip(happenings, (*happenings[1:], None), strict=False):
        if happening.kind is Kind.CLOCK and after is not None and after.kind is Kind.CLOCK and not happening.fault:
            continue  # one line for both
        lane = picture.lane(happening.name)
        if happening.kind is Kind.ACTIVITY_STARTED:
            running[lane] = running.get(lane, 0) + 1
        elif happening.kind in ENDINGS:
            running[lane] = max(running.get(lane, 0) - 1, 0)
        elif happening.kind in GOES_DOWN:
            running.clear()
            worker += 1
        busy = frozenset(name for name, count in running.items() if count)
        picture.rows.append(Row(happening, happening.at_ms - begun_ms, busy, worker))
    return picture


# -- characters ------------------------------------------------------------------------------------------------------------

_ENDS = {
    Kind.ACTIVITY_COMPLETED: "✓",
    Kind.ACTIVITY_FAILED: "✗",
    Kind.ACTIVITY_TIMED_OUT: "✗",
    Kind.ACTIVITY_CANCELED: "⊘",
    Kind.ACTIVITY_HANGS: "…",
}
_LANE_MIN, _LANE_MAX = 10, 22


def timeline(happenings: Sequence[Happening], workflow: str) -> str:
    """A schedule as a picture of characters."""
    picture = layout(happenings, workflow)
    lanes = [CALLERS, workflow, *picture.activities]
    widths = [max(_LANE_MIN, min(len(lane) + 4, _LANE_MAX)) for lane in lanes]
    widths[0] = max([len(_caller(row.happening)) for row in picture.rows] + [len(CALLERS)]) + 3
    times = [clock(row.after_ms) for row in picture.rows]
    time_width = max(map(len, times), default=0)
    head = " " * (time_width + 5) + "".join(
        lane[: width - 2].ljust(width) for lane, width in zip(lanes, widths, strict=True)
    )
    out = [head.rstrip()]
    previous, running = "", frozenset[str]()
    for row, time in zip(picture.rows, times, strict=True):
        mark = BROKEN if row.happening.kind is Kind.BROKEN else FAULT if row.happening.fault else " "
        cells = _cells(picture, row, running)
        line = "".join(cell.ljust(width, fill) for (cell, fill), width in zip(cells, widths, strict=True))
        out.append(f"{mark:>2} {time if time != previous else '':>{time_width}}  {line}".rstrip())
        previous, running = time, row.running
    return "\n".join(out) + "\n"


def _cells(picture: Picture, row: Row, before: frozenset[str]) -> list[tuple[str, str]]:
    """What stands in each lane, and what fills the rest of its width."""
    happening, kind = row.happening, row.happening.kind
    spine, caller = ("│", " "), ("", " ")
    lane = picture.lane(happening.name)
    if kind in ARRIVALS:
        caller, spine = (f"{_caller(happening)} ", "─"), ("▶", " ")
    elif kind in ANSWERS:
        caller, spine = (f"{_caller(happening)} ◀", "─"), ("┤", " ")
    elif kind is Kind.STEP:
        spine = ("●", " ")
    elif kind is Kind.ACTIVITY_STARTED:
        spine = ("├", "─")
    elif kind in ENDINGS:
        spine = ("◀", "─")
    elif kind is Kind.CLOSED:
        spine = (f"■ {happening.text}", " ")
    elif kind in (Kind.CLOCK, Kind.CLOCK_JUMP):
        spine = (f"┊ {happening.text}".rstrip(), " ")
    elif kind in GOES_DOWN or kind in (Kind.WAKE, Kind.EVICTION, Kind.DATABASE, Kind.WORKERS_BUSY, Kind.WORKER_STARTED):
        spine = (f"╳ {kind.value}" if kind in GOES_DOWN else f"╎ {kind.value}", " ")
    elif kind is Kind.BROKEN:
        spine = ("✗ broken", " ")
    cells = [caller, spine]
    open_to = _target(picture, lane) if kind in ENDINGS or kind is Kind.ACTIVITY_STARTED else -1
    for index, name in enumerate(picture.activities):
        if name == lane and kind is Kind.ACTIVITY_STARTED:
            attempt = f" {happening.attempt}" if happening.attempt > 1 else ""
            cells.append((f"▶┐{attempt}", " "))
        elif name == lane and kind in _ENDS:
            cells.append((f"{'─' if kind in ENDINGS else ' '}{_ENDS[kind]}", " "))
        elif index < open_to:
            cells.append(("─┼" if name in row.running else "──", "─"))
        elif kind in GOES_DOWN and name in before:
            cells.append((" ╳", " "))
        else:
            cells.append((" │" if name in row.running else "", " "))
    return cells


def _target(picture: Picture, lane: str) -> int:
    return picture.activities.index(lane) if lane in picture.activities else -1


def _caller(happening: Happening) -> str:
    """What stands in the callers' lane."""
    kind, name = happening.kind, happening.name
    if kind in ANSWERS:
        return f"{'✓' if kind is Kind.ANSWERED else '✗'} {name}"
    if kind not in ARRIVALS:
        return ""
    words = {Kind.STARTED: "start", Kind.CANCEL: "cancel", Kind.DUPLICATE: f"{name} again"}
    return words.get(kind, name)
