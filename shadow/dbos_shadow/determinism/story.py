"""Story: what happened in a schedule, in numbered sentences, the fault marked."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dbos_shadow.determinism.failure import DeterminismError
from dbos_shadow.determinism.happenings import Happening, Kind

FAULT = "⚡"
BROKEN = "✗"
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of a story."""

    number: int
    after_ms: int
    """Virtual time since the beginning."""
    sentence: str
    happening: Happening

    @property
    def mark(self) -> str:
        if self.happening.kind is Kind.BROKEN:
            return BROKEN
        return FAULT if self.happening.fault else ""


def lines(happenings: Sequence[Happening]) -> list[Line]:
    """The story in sentences. What goes without saying is left out: an activity starts because it was asked for."""
    happenings = in_order(happenings)
    begun_ms = happenings[0].at_ms if happenings else 0
    told = [
        happening
        for before, happening, after in zip((None, *happenings), happenings, (*happenings[1:], None), strict=False)
        if not _goes_without_saying(before, happening, after)
    ]
    return [Line(n, h.at_ms - begun_ms, sentence(h), h) for n, h in enumerate(told, 1)]


def in_order(happenings: Sequence[Happening]) -> list[Happening]:
    """As a reader would tell it: what asks for an activity before the activity begins. The journal, from which one hears of
    a step, is read a moment later."""
    told: list[Happening] = []
    for happening in happenings:
        place = len(told)
        if happening.kind is Kind.STEP:
            asked = happening.text.split(", ")
            while place and _begins_one_of(told[place - 1], asked, happening.at_ms):
                place -= 1
        told.insert(place, happening)
    return told


def _begins_one_of(happening: Happening, asked: Sequence[str], at_ms: int) -> bool:
    return happening.kind is Kind.ACTIVITY_STARTED and happening.name in asked and happening.at_ms == at_ms


def _goes_without_saying(before: Happening | None, happening: Happening, after: Happening | None) -> bool:
    if happening.kind is Kind.CLOCK:  # the times beside the lines tell
        return not happening.fault and after is not None
    if happening.kind is Kind.CLOSED and before is not None and before.kind is Kind.STEP:
        own_doing = any(word in _ENDS for word in before.text.split(", "))
        return own_doing and before.workflow_id == happening.workflow_id
    return (
        happening.kind is Kind.ACTIVITY_STARTED
        and happening.attempt <= 1
        and before is not None
        and before.at_ms == happening.at_ms
        and before.process == happening.process
        and before.kind in (Kind.STEP, Kind.ACTIVITY_STARTED)
    )


def faults(happenings: Sequence[Happening]) -> int:
    """How many things went wrong in the world."""
    return sum(happening.fault for happening in happenings)


def story(error: DeterminismError, *, width: int = WIDTH) -> str:
    """A failure as text.

    Args:
        error: what the kit raised.
        width: of a line, in characters.
    """
    told = lines(error.happenings)
    head = f"{error.workflow} breaks the rule that {error.rule.value}."
    if not told:
        return f"{textwrap.fill(head, width)}\n\n{textwrap.fill(error.what, width)}\n"
    times = [clock(line.after_ms) for line in told]
    number_width, time_width = len(str(len(told))), max(map(len, times))
    indent = " " * (3 + number_width + 2 + time_width + 3)
    parts = [textwrap.fill(head, width), ""]
    for line, time in zip(told, times, strict=True):
        if _FOLDED.start < line.number <= len(told) - _FOLDED.stop:
            if line.number == _FOLDED.start + 1:
                parts.append(f"{indent}... {len(told) - _FOLDED.start - _FOLDED.stop} more ...")
            continue
        first = f"{line.mark:>2} {line.number:>{number_width}}  {time:>{time_width}}   "
        parts += textwrap.wrap(line.sentence, width, initial_indent=first, subsequent_indent=indent)
    parts += ["", summary(error)]
    return "\n".join(parts) + "\n"


_FOLDED = slice(24, 12)
"""Of a long story one reads so many lines of its beginning, and so many of its end."""


def summary(error: DeterminismError) -> str:
    """How much it takes, in one line."""
    count, steps = faults(error.happenings), sum(h.kind is Kind.STEP for h in error.happenings)
    how_many = {0: "No fault", 1: "One fault"}.get(count, f"{count} faults")
    return f"{how_many}, {steps} {'step' if steps == 1 else 'steps'}. decisions={list(error.decisions)}"


def clock(ms: int) -> str:
    """A time since the beginning, as short as it may be: ``0.250 s``, ``2:05``, ``3 d 04:00:00``."""
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    seconds, rest = divmod(ms, 1000)
    fraction = f".{rest:03}" if rest else ""
    if seconds < 60:
        return f"{sign}{seconds}.{rest:03} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{sign}{minutes}:{seconds:02}{fraction}"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{sign}{hours}:{minutes:02}:{seconds:02}{fraction}"
    days, hours = divmod(hours, 24)
    return f"{sign}{days} d {hours:02}:{minutes:02}:{seconds:02}{fraction}"


# -- sentences -----------------------------------------------------------------------------------------------------------

_PLAIN: Mapping[Kind, str] = {
    Kind.STARTED: "Somebody starts {name}",
    Kind.ACTIVITY_STARTED: "{activity} starts{attempt}",
    Kind.ACTIVITY_COMPLETED: "{activity} completes{attempt}",
    Kind.ACTIVITY_FAILED: "{activity} fails{attempt}",
    Kind.ACTIVITY_CANCELED: "{activity} ends as cancelled{attempt}",
    Kind.ACTIVITY_HANGS: "{activity} does not report{attempt}",
    Kind.ACTIVITY_TIMED_OUT: "{activity} times out{attempt}",
    Kind.ACTIVITY_ASKED_TO_STOP: "{activity} is asked to stop",
    Kind.CLOCK: "Time passes",
    Kind.CLOCK_JUMP: "The wall clock is set",
    Kind.SIGNAL: "Signal {name} arrives",
    Kind.UPDATE: "Update {name} arrives",
    Kind.QUERY: "Query {name} arrives",
    Kind.CANCEL: "Somebody requests cancellation",
    Kind.DUPLICATE: "{name} is sent once more, with the same request id",
    Kind.WORKER_STARTED: "Worker {process} begins to serve",
    Kind.CRASH: "Worker {process} dies, and another takes over",
    Kind.STALL: "Worker {process} stands still for longer than its lease, and another takes over",
    Kind.WAKE: "Worker {process} goes on, and does not know",
    Kind.EVICTION: "The workflow is dropped from memory: what follows begins with a replay",
    Kind.NEW_CODE: "Workers with other code take over",
    Kind.DATABASE: "The database",
    Kind.WORKERS_BUSY: "No worker takes activities for a while",
}


def sentence(happening: Happening) -> str:
    """One happening in words, without a final stop."""
    kind, text, name = happening.kind, happening.text, happening.name
    if kind is Kind.BROKEN:
        rule, colon, what = text.partition(": ")
        return f"Broken: {what.rstrip('.') if colon else rule}"
    if kind is Kind.STEP:
        return _step(f"Workflow {happening.workflow_id}" if happening.workflow_id else name or "The workflow", text)
    if kind is Kind.CLOSED:
        return f"Workflow {happening.workflow_id} is {text}" if happening.workflow_id else f"{name} is {text}"
    if kind is Kind.ANSWERED:
        return f"{text.capitalize() or 'The caller'} {name} is answered"
    if kind is Kind.REFUSED:
        return f"{name} is refused: {text}" if text else f"{name} is refused"
    plain = _PLAIN[kind].format(
        name=name,
        activity=name[:1].upper() + name[1:] if name.startswith("child workflow ") else f"Activity {name}",
        process=happening.process,
        attempt=f", attempt {happening.attempt}" if happening.attempt > 1 else "",
    )
    if kind is Kind.ACTIVITY_HANGS and text:
        return f"{plain}, {text}"
    if kind is Kind.DATABASE:
        return f"The database is away: {text}"
    return f"{plain} ({text})" if kind is Kind.CLOCK_JUMP else f"{plain}: {text}" if text else plain


_ENDS: Mapping[str, str] = {
    "complete": "completes",
    "fail": "fails",
    "cancel": "ends as cancelled",
    "cancelled": "ends as cancelled",
    "continue as new": "continues as new",
}
_WISHES: Mapping[str, str] = {
    "timer": "a timer",
    "patch": "a patch marker",
    "cancel timer": "the end of a timer",
    "cancel activity": "the cancellation of an activity",
    "cancel local": "the cancellation of a local activity",
    "memo": "another memo",
    "upsert sa": "other search attributes",
    "local marker": "the marker of a local activity",
    "update accepted": "an update to be accepted",
    "update completed": "an update to be completed",
}


def _step(who: str, asked: str) -> str:
    words = [word for word in asked.split(", ") if word]
    ends = [_ENDS[word] for word in words if word in _ENDS]
    wishes = [_WISHES.get(word, word) for word in words if word not in _ENDS]
    parts = [f"asks for {' and '.join(_enumerated(wishes))}"] if wishes else []
    return f"{who} {' and '.join(parts + ends)}" if words else f"{who} takes that up and asks for nothing"


def _enumerated(words: Sequence[str]) -> list[str]:
    """``a, b`` and ``c``: all but the last in one."""
    return [", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words)
