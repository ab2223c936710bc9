"""What two sides of one place have not in common: values, options, failures, scalars → differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from dbos_shadow.difference import Difference, Kind, Level, Unchecked
from dbos_shadow.json_paths import differing
from dbos_shadow.trace import Failure, Named, Opaque, Options, Plain, Value, Values, canonical

__all__ = ["Alike", "Parts", "Place", "READ", "nobody_can_tell", "shown", "text"]

Alike = Callable[[Opaque, Opaque], bool | None]
"""Are two values of the same encoding equal, though their bytes are not? None: nobody can tell."""


READ = ("summary", "details")
"""What user code says about a step for people to read, by name."""


def nobody_can_tell(mine: Opaque, theirs: Opaque) -> bool | None:
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """What is being compared: the beginning of its path, and its steps."""

    label: str
    step: int | None = None
    actual_step: int | None = None


class Parts:
    """The differences so far, and what could not be compared."""

    def __init__(self, workflow_type: str, alike: Alike = nobody_can_tell) -> None:
        self.workflow_type = workflow_type
        self._alike = alike
        self.differences: list[Difference] = []
        self.gaps: list[Unchecked] = []

    def values(self, place: Place, level: Level, part: str, mine: Values, theirs: Values) -> None:
        """Compare lists of values, one by one; ``part`` is what they are called in paths."""
        for index in range(max(len(mine), len(theirs))):
            inside = f"{part}[{index}]"
            if index >= len(theirs):
                self.add(place, level, Kind.MISSING, inside, shown(mine[index]), None)
            elif index >= len(mine):
                self.add(place, level, Kind.EXTRA, inside, None, shown(theirs[index]))
            else:
                self.value(place, level, inside, mine[index], theirs[index])

    def value(self, place: Place, level: Level, part: str, mine: Value, theirs: Value) -> None:
        """Compare two values: JSON place by place, others as a whole, as far as anybody can."""
        if mine == theirs:
            return
        if isinstance(mine, Plain) and isinstance(theirs, Plain):
            for spot in differing(mine.value, theirs.value, part):
                self.add(place, level, spot.kind, spot.path, spot.left, spot.right)
            if mine.type and theirs.type:  # an attribute that was set without a type has that of its name
                self.scalar(place, level, f"{part}.type", mine.type, theirs.type, Kind.TYPE)
        else:
            same = isinstance(mine, Opaque) and isinstance(theirs, Opaque) and mine.encoding == theirs.encoding
            if any(isinstance(side, Opaque) and side.sealed for side in (mine, theirs)):
                alike = (
                    self._alike(mine, theirs)
                    if isinstance(mine, Opaque) and isinstance(theirs, Opaque) and same
                    else None
                )
                if alike is None:
                    self.unchecked("sealed", place, part)
                if alike is not False:
                    return
            self.add(place, level, Kind.VALUE if same else Kind.TYPE, part, shown(mine), shown(theirs))

    def named(self, place: Place, mine: Named, theirs: Named) -> None:
        """Compare values by name. Headers are options, and so is what people read (``READ``); memos and search attributes
        weigh as inputs do."""
        before, after = dict(mine), dict(theirs)
        for name in sorted(before.keys() | after.keys()):
            level = Level.OPTIONS if name.startswith("headers.") or name in READ else Level.INPUTS
            if name not in after:
                self.add(place, level, Kind.MISSING, name, shown(before[name]), None)
            elif name not in before:
                self.add(place, level, Kind.EXTRA, name, None, shown(after[name]))
            else:
                self.value(place, level, name, before[name], after[name])

    def options(self, place: Place, mine: Options, theirs: Options, *, but: Sequence[str] = ()) -> None:
        before, after = dict(mine), dict(theirs)
        for name in sorted((before.keys() | after.keys()) - set(but)):
            self.scalar(place, Level.OPTIONS, f"options.{name}", before.get(name), after.get(name))

    def failure(self, place: Place, level: Level, part: str, mine: Failure | None, theirs: Failure | None) -> None:
        """Compare two failures and, one below the other, their causes."""
        if mine == theirs:
            return
        if mine is None or theirs is None:
            self.scalar(place, level, part, mine.kind if mine else None, theirs.kind if theirs else None)
            return
        self.scalar(place, level, f"{part}.kind", mine.kind, theirs.kind, Kind.TYPE)
        self.scalar(place, level, f"{part}.type", mine.type, theirs.type)
        self.scalar(place, level, f"{part}.message", mine.message, theirs.message)
        self.scalar(place, level, f"{part}.non_retryable", mine.non_retryable, theirs.non_retryable)
        self.scalar(place, level, f"{part}.retry_state", mine.retry_state, theirs.retry_state)
        self.scalar(place, level, f"{part}.next_retry_delay_ms", mine.next_retry_delay_ms, theirs.next_retry_delay_ms)
        self.scalar(place, level, f"{part}.category", mine.category, theirs.category)
        self.values(place, level, f"{part}.details", mine.details, theirs.details)
        sealed = (mine.sealed,) if mine.sealed else ()
        self.values(place, level, f"{part}.sealed", sealed, (theirs.sealed,) if theirs.sealed else ())
        self.failure(place, level, f"{part}.cause", mine.cause, theirs.cause)

    def scalar(
        self, place: Place, level: Level, part: str, mine: object, theirs: object, kind: Kind = Kind.VALUE
    ) -> None:
        """Compare two plain things; ``kind`` is said if both are there."""
        if mine == theirs:
            return
        if theirs is None:
            kind = Kind.MISSING
        elif mine is None:
            kind = Kind.EXTRA
        self.add(place, level, kind, part, text(mine), text(theirs))

    def add(self, place: Place, level: Level, kind: Kind, part: str, expected: str | None, actual: str | None) -> None:
        """One more difference; both sides as JSON text, None where nothing stands."""
        self.differences.append(
            Difference(
                workflow_type=self.workflow_type,
                level=level,
                kind=kind,
                path=f"{place.label}: {part}",
                step=place.step,
                actual_step=place.actual_step,
                expected=expected,
                actual=actual,
            )
        )

    def unchecked(self, reason: str, place: Place, part: str) -> None:
        path = f"{place.label}: {part}"
        self.gaps.append(Unchecked(path=path, reason=reason, step=place.step, actual_step=place.actual_step))


def text(value: object) -> str | None:
    return None if value is None else canonical(value)


def shown(value: Value) -> str:
    """A value in a difference: JSON, or what is known of bytes without showing them; other bytes, another text."""
    if isinstance(value, Plain):
        return value.text
    digest = sha256(value.data).hexdigest()[:16]
    return canonical({"encoding": value.encoding, "bytes": len(value.data), "sha256": digest})
