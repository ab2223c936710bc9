"""Campaign: the runs of a selection, one after the other, through a judge, into a place for results.

It reads ahead a little and never more, keeps nothing of a run but its line, and may be killed at any time: whoever starts
it again with the same configuration goes on where it was. What goes wrong with one run is told of that run; the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import json
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol, TypeAlias

from dbos_core.errors import DBOSCompatError, Expected
from dbos_core.results import Known, ResultRow, Results
from dbos_shadow.reading.decoding import CannotDecode
from dbos_shadow.reading.files import Unreadable
from dbos_shadow.recorded import Recorded
from dbos_shadow.results.rows import row_of
from dbos_shadow.scouting import Scouts, Shapes
from dbos_shadow.select import Candidate, Sample, Selection, Strata, Window, position, shape_of
from dbos_shadow.sources import history
from dbos_shadow.undecided import undecided, unreadable
from dbos_shadow.verdict import Judgement, Reason, Verdict

__all__ = ["Campaign", "Counts", "End", "Judge", "Limits", "Source", "config_hash"]

READ_AHEAD = 8
"""Histories in memory besides the one that is judged."""
BATCH_RUNS = 50
BATCH_S = 1.0
"""Results that are not kept yet: so many at most, and for so long."""
RUN_DEADLINE_S = 60.0
WATCH_EVERY_S = 30.0
WATCH_OVERLAP = timedelta(minutes=2)
"""A run may be listed some time after it has closed, and clocks differ."""

COMPARED = frozenset({Verdict.MATCH.value, Verdict.MISMATCH.value, Verdict.ACCEPTED.value})
AGAIN = frozenset({Reason.FAILED.value, Reason.STILL_RUNNING.value, Reason.SEALED.value})
"""Reasons that may be gone at the next try, without a change in the configuration."""


@dataclass(frozen=True, slots=True)
class _Scout:
    """A run that is read, and judged only if its shape is rare."""

    candidate: Candidate


_Wanted: TypeAlias = "Candidate | Unreadable | _Scout"
_Picked: TypeAlias = AsyncGenerator[_Wanted, None]


class Judge(Protocol):
    """Says what it thinks of a run. It may raise: then the run is inconclusive, and the failure ours."""

    async def __call__(self, recorded: Recorded, /) -> Judgement: ...


class Source(Protocol):
    """Where runs come from."""

    @property
    def concurrency(self) -> int:
        """How many may be read at once."""

    def candidates(self, selection: Selection) -> AsyncIterator[Candidate | Unreadable]:
        """What the selection wants, sampling aside, and what could not be asked whether it is wanted."""

    async def read(self, candidate: Candidate) -> Recorded | Unreadable | None:
        """A run's history. None: it is gone meanwhile."""


class End(enum.StrEnum):
    """Why a session ended."""

    DONE = "done"
    """Everything that was chosen is judged."""
    DEADLINE = "deadline"
    MISMATCHES = "mismatches"
    """As many as it was told to stop at."""
    ENOUGH = "enough"
    """As many runs of each type as were wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop. None: never for that reason."""

    run_deadline_s: float = RUN_DEADLINE_S
    """Wall clock for judging one run."""
    deadline_s: float | None = None
    """Wall clock for the session."""
    mismatches: int | None = None
    compared_per_type: int | None = None
    """Enough, once every type that was met (and each that was asked for) has so many compared runs."""

    def reached(self, counts: Counts, types: Collection[str]) -> End | None:
        """The limit that these counts have reached, deadlines aside.

        Args:
            types: that were met, or asked for.
        """
        if self.mismatches is not None and counts.verdicts[Verdict.MISMATCH.value] >= self.mismatches:
            return End.MISMATCHES
        enough = self.compared_per_type
        if enough is not None and types and all(counts.compared[name] >= enough for name in types):
            return End.ENOUGH
        return None


@dataclass(slots=True)
class Counts:
    """How far a session is. Read it at any time."""

    seen: int = 0
    """Runs that the selection wants."""
    chosen: int = 0
    """Of them, those that were sampled."""
    known: int = 0
    """Of them, those that were judged in an earlier session."""
    judged: int = 0
    """In this session."""
    repeated: list[str] = field(default_factory=list)
    """Workflow ids of runs that were found once more, with the same history: they are judged once."""
    scouted: int = 0
    """Histories that were read beside the sample, for rare shapes; those that were judged are among the chosen."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Of them, those whose shape was met often enough, by workflow type."""
    listing: bool = True
    """Is the end of the listing not reached yet?"""
    verdicts: Counter[str] = field(default_factory=Counter)
    """Of all chosen runs, earlier sessions included."""
    reasons: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    """By workflow type."""

    def say(self, workflow_type: str, verdict: str, reason: str) -> None:
        """Count what is said of a chosen run."""
        self.verdicts[verdict] += 1
        if reason:
            self.reasons[reason] += 1
        if verdict in COMPARED:
            self.compared[workflow_type] += 1

    def document(self) -> dict[str, Any]:
        """What is kept of the counts, as JSON."""
        return {
            "seen": self.seen,
            "chosen": self.chosen,
            "known": self.known,
            "judged": self.judged,
            "scouted": self.scouted,
            "passed_over": dict(sorted(self.passed_over.items())),
            "verdicts": dict(sorted(self.verdicts.items())),
            "reasons": dict(sorted(self.reasons.items())),
        }


def config_hash(settings: Mapping[str, Any]) -> str:
    """Sixteen characters over all that decides a verdict: equal ones make judging twice needless."""
    return sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Campaign:
    """One configuration, and the session that is under way."""

    def __init__(
        self,
        config: str,
        *,
        results: Results,
        judge: Judge,
        keep: Callable[[Judgement], str],
        limits: Limits | None = None,
        on_judged: Callable[[Judgement], None] | None = None,
        fresh: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """
        Args:
            config: its hash; the results' ``begin`` was told of it.
            results: opened.
            judge: says what it thinks of a run.
            keep: a judgement → the document that is kept of it.
            limits: when to stop.
            on_judged: hears of every judgement of this session, in the order in which they are made.
            fresh: judge again what was judged before.
            clock: seconds, for deadlines.
            now_ms: milliseconds since the epoch: when a result was made, for retention.
        """
        self.config = config
        self.counts = Counts()
        self.strata = Strata()
        self.chosen: set[tuple[str, str]] = set()
        """(workflow id, run id) of what this session is about."""
        self._results = results
        self._judge = judge
        self._keep = keep
        self._limits = limits or Limits()
        self._on_judged = on_judged
        self._fresh = fresh
        self._clock = clock
        self._now_ms = now_ms
        self._known: dict[tuple[str, str], Known] = {}
        self._pending: list[ResultRow] = []
        self._kept_at = 0.0
        self._met: dict[tuple[str, str], _Met] = {}
        self._met_before: dict[tuple[str, str], _Met] = {}
        """Whoever watches forgets what is older than the look before."""
        self._types: set[str] = set()
        self._shapes = Shapes()
        self.since: datetime | None = None
        """Of a watch: runs that closed before are left alone."""
        self._looked_until: datetime | None = None
        self._begun = clock()

    async def run(self, selection: Selection, source: Source) -> End:
        """Judge what the selection chooses, once.

        Raises:
            StoreUnavailable, ServerUnavailable: the database or the server went away; what was judged is kept.
            RPCError: the server refuses the list query.
        """
        async with self._session(selection):
            picked = self._all(selection, source) if selection.takes_all else self._sampled(selection, source)
            return await self._through(picked, source, selection.floor) or End.DONE

    async def watch(
        self,
        selection: Selection,
        source: Source,
        *,
        since: datetime,
        every_s: float = WATCH_EVERY_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> End:
        """Judge what is newly closed, again and again, until a limit is reached.

        Args:
            selection: its rate holds for each run by itself, its floor for the whole time, its scouts for each look.
            source: a live namespace.
            since: runs that closed before are left alone.
            every_s: seconds between two looks.
            sleep: for tests.

        Raises:
            as ``run`` does.
        """
        self.since = self._looked_until = since
        async with self._session(selection):
            await self._keep_all()  # whoever is killed in the first look goes on from here as well
            while True:
                looked_at = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
                window = Window(after=since - WATCH_OVERLAP, before=selection.closed.before)
                fresh = dataclasses.replace(selection, closed=window)
                if (end := await self._through(self._as_they_come(fresh, source), source, fresh.floor)) is not None:
                    return end
                since = self._looked_until = max(since, looked_at)
                await self._keep_all()
                if (end := self._over()) is not None:
                    return end
                self._met_before, self._met = self._met, {}
                await sleep(every_s)

    async def left_off(self) -> datetime | None:
        """Up to when an earlier watch of this configuration has looked; None: there was none.

        Raises:
            StoreUnavailable: the database went away.
        """
        for row in await self._results.campaigns():
            if row.config == self.config and (at_ms := json.loads(row.summary).get("looked_until_ms")) is not None:
                return datetime.fromtimestamp(at_ms / 1000, UTC)
        return None

    @contextlib.asynccontextmanager
    async def _session(self, selection: Selection) -> AsyncIterator[None]:
        if not self._fresh:
            self._known = dict(await self._results.known(self.config))
        self._types.update(selection.types)
        self._kept_at = self._begun = self._clock()
        try:
            yield
        except BaseException:  # Ctrl-C as well: what was judged is kept, whatever it was that went wrong
            with contextlib.suppress(Expected):
                await asyncio.shield(self._keep_all())
            raise
        await self._keep_all()

    async def _through(self, picked: _Picked, source: Source, floor: int) -> End | None:
        """Judge all of them, and those scouts whose shape was met less than ``floor`` times; None: to the end."""
        queue: asyncio.Queue[_Read | None] = asyncio.Queue(READ_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read_ahead(picked, source, queue), name="shadow reading")
                while (read := await queue.get()) is not None:
                    if not read.is_scout or self._keeps(read, floor):
                        await self._one(read)
                    if (end := self._over()) is not None:
                        reading.cancel()
                        return end
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from None
        return None

    # -- which -----------------------------------------------------------------------------------------------------

    async def _all(self, selection: Selection, source: Source) -> _Picked:
        async for found in source.candidates(selection):
            if isinstance(found, Candidate):
                if (first := self._met_as(found)) is not None:
                    if (other := _other_history(found, first)) is not None:
                        yield other
                    continue
                self.counts.seen += 1
                self.strata.seen(found.stratum)
                if not self._choose(found):
                    continue
            yield found
        self.counts.listing = False

    async def _as_they_come(self, selection: Selection, source: Source) -> _Picked:
        """By rate, and the first few of each stratum: whoever watches cannot wait for the end of the list."""
        scouts = selection.scouts if selection.floor else 0
        async for found in source.candidates(selection):
            if isinstance(found, Candidate):
                if self._met_as(found) is not None:
                    continue
                self.counts.seen += 1
                self.strata.seen(found.stratum)
                if selection.maximum is not None and self.counts.chosen >= selection.maximum:
                    continue
                by_rate = selection.rate == 1 or position(found.workflow_id, selection.seed) < selection.rate
                if not by_rate and self.strata.chosen_of(found.stratum) >= selection.floor:
                    if scouts:
                        scouts -= 1
                        yield _Scout(found)
                    continue
                if not self._choose(found):
                    continue
            yield found
        self.counts.listing = False

    async def _sampled(self, selection: Selection, source: Source) -> _Picked:
        sample, scouts = Sample(selection), Scouts(selection)
        unreadable = []
        async for found in source.candidates(selection):
            if isinstance(found, Unreadable):
                unreadable.append(found)
            elif (first := self._met_as(found)) is not None:
                if (other := _other_history(found, first)) is not None:
                    unreadable.append(other)
            else:
                sample.offer(found)
                scouts.offer(found)
                self.counts.seen += 1
            if self._late():
                break
        self.counts.listing = False
        for stratum, seen in sample.seen().items():
            self.strata.seen(stratum, seen)
        for found in unreadable:
            yield found
        for candidate in sorted(sample.chosen(), key=lambda found: found.place):
            if self._choose(candidate):
                yield candidate
        for candidate in scouts.beside(self.chosen):
            yield _Scout(candidate)

    def _met_as(self, candidate: Candidate) -> _Met | None:
        """Cloud exports and listings may have the same run twice: what it was met as; None: it is the first time."""
        key = (candidate.workflow_id, candidate.run_id)
        first = self._met.get(key) or self._met_before.get(key)
        here = _Met(candidate.digest, candidate.where) if candidate.digest else _LISTED
        self._met[key] = first or here
        if first is not None and candidate.digest and candidate.digest == first.digest:
            self.counts.repeated.append(candidate.workflow_id)
        return first

    def _choose(self, candidate: Candidate) -> bool:
        """Count it in. False: it was judged before, and nothing has changed since."""
        self.counts.chosen += 1
        self.chosen.add((candidate.workflow_id, candidate.run_id))
        self.strata.chosen(candidate.stratum)
        self._types.add(candidate.workflow_type)
        known = self._known.get((candidate.workflow_id, candidate.run_id))
        if known is None or known.reason in AGAIN:
            return True
        if candidate.is_open or (candidate.events and known.events and candidate.events != known.events):
            return True
        if candidate.digest and candidate.digest != known.digest:
            return True  # a file that was written anew, or what was judged was read from somewhere else
        self.counts.known += 1
        self.counts.say(candidate.workflow_type, known.verdict, known.reason)
        self._shapes.met(candidate.workflow_type, known.shape)
        if known.verdict in COMPARED:
            self.strata.judged(candidate.stratum)
        return False

    def _keeps(self, read: _Read, floor: int) -> bool:
        """Shall this scout be judged? If it cannot be read, nothing is lost: nobody had chosen it."""
        self.counts.scouted += 1
        candidate, found = read.candidate, read.found
        if candidate is None or not isinstance(found, Recorded):
            return False
        shape = _shape(found)
        if not self._shapes.is_rare(candidate.workflow_type, shape, floor):
            self.counts.passed_over[candidate.workflow_type] += 1
            return False
        if not self._choose(candidate):
            return False
        self._shapes.met(candidate.workflow_type, shape)
        return True

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _read_ahead(self, picked: _Picked, source: Source, queue: asyncio.Queue[_Read | None]) -> None:
        """Reads several at once, hands them over in order."""
        under_way: asyncio.Queue[asyncio.Task[_Read] | None] = asyncio.Queue(max(1, source.concurrency))

        async def hand_over() -> None:
            while (task := await under_way.get()) is not None:
                await queue.put(await task)
            await queue.put(None)

        async with contextlib.aclosing(picked), asyncio.TaskGroup() as group:
            group.create_task(hand_over(), name="shadow handing over")
            async for found in picked:
                await under_way.put(group.create_task(_read(source, found)))
            await under_way.put(None)

    # -- judging ---------------------------------------------------------------------------------------------------

    async def _one(self, read: _Read) -> None:
        candidate = read.candidate
        begun = self._clock()
        judgement = await self._judged(read)
        self.counts.judged += 1
        self.counts.say(
            judgement.workflow_type, judgement.verdict.value, judgement.reason.value if judgement.reason else ""
        )
        if not read.is_scout:
            self._shapes.met(judgement.workflow_type, judgement.shape)
        if candidate is not None and judgement.verdict.value in COMPARED:
            self.strata.judged(candidate.stratum)
        if self._on_judged is not None:
            self._on_judged(judgement)
        self.chosen.add((judgement.workflow_id, judgement.run_id))
        digest = candidate.digest if candidate is not None else ""
        row = row_of(judgement, document=self._keep(judgement), at_ms=self._now_ms(), digest=digest)
        self._pending.append(row)
        if len(self._pending) >= BATCH_RUNS or self._clock() - self._kept_at >= BATCH_S:
            await self._flush()
        if self._clock() - begun < 0.001:
            await asyncio.sleep(0)  # a judge that never waits would leave no turn to whoever reads

    async def _judged(self, read: _Read) -> Judgement:
        found = read.found
        if isinstance(found, Unreadable):
            told = unreadable(found)
            return dataclasses.replace(told, workflow_type=read.workflow_type, run_id=read.run_id or told.run_id)
        if found is None:
            return Judgement(
                workflow_type=read.workflow_type,
                workflow_id=read.candidate.workflow_id if read.candidate else "",
                run_id=read.run_id,
                verdict=Verdict.NOT_RUN,
                reason=Reason.EXCLUDED,
                subject="gone",
                note="The server listed it, and had no history of it any more: its retention was over.",
            )
        try:
            async with asyncio.timeout(self._limits.run_deadline_s):
                return await self._judge(found)
        except CannotDecode as error:
            return undecided(found, Reason.SEALED, str(error), subject="codec")
        except TimeoutError:
            note = f"It was not judged after {self._limits.run_deadline_s:g} s."
            return undecided(found, Reason.FAILED, note, subject="deadline")
        except Exception as error:
            return undecided(found, Reason.FAILED, _where(error), subject=type(error).__name__)

    # -- ending ----------------------------------------------------------------------------------------------------

    def _late(self) -> bool:
        return self._limits.deadline_s is not None and self._clock() - self._begun >= self._limits.deadline_s

    def _over(self) -> End | None:
        return self._limits.reached(self.counts, self._types) or (End.DEADLINE if self._late() else None)

    async def _flush(self) -> None:
        rows, self._pending = self._pending, []
        self._kept_at = self._clock()
        await self._results.add(self.config, rows)

    async def _keep_all(self) -> None:
        await self._flush()
        summary = {**self.counts.document(), "strata": [dataclasses.asdict(found) for found in self.strata]}
        if self._looked_until is not None:
            summary["looked_until_ms"] = int(self._looked_until.timestamp() * 1000)
        await self._results.summarise(self.config, json.dumps(summary))


@dataclass(frozen=True, slots=True)
class _Read:
    candidate: Candidate | None
    found: Recorded | Unreadable | None
    is_scout: bool = False

    @property
    def workflow_type(self) -> str:
        return self.candidate.workflow_type if self.candidate else ""

    @property
    def run_id(self) -> str:
        return self.candidate.run_id if self.candidate else ""


@dataclass(frozen=True, slots=True)
class _Met:
    """What is kept of a run, to know it again."""

    digest: str
    where: str


_LISTED = _Met("", "")


def _other_history(candidate: Candidate, first: _Met) -> Unreadable | None:
    """What is said of a run that is there with two histories: nobody knows which of them is meant."""
    if candidate.digest == first.digest:
        return None
    here, there = (one.where.partition("\n") for one in (candidate, first))
    return Unreadable(
        workflow_id=candidate.workflow_id,
        source=here[2] or f"run:{candidate.run_id}",
        note=f"{here[0]}: the same run is in {there[0]} with another history, and that one was judged. Keep one of them.",
    )


async def _read(source: Source, wanted: _Wanted) -> _Read:
    if isinstance(wanted, Unreadable):
        return _Read(None, wanted)
    candidate = wanted.candidate if isinstance(wanted, _Scout) else wanted
    return _Read(candidate, await source.read(candidate), isinstance(wanted, _Scout))


def _shape(found: Recorded) -> str:
    """What a run did; empty, which is always rare, if it cannot be read: whoever judges it says why."""
    try:
        return shape_of(history.trace(found.events, closed=found.closed))
    except Exception:
        return ""


def _first(error: BaseExceptionGroup[BaseException]) -> BaseException:
    """The cause among what a group of tasks has raised."""
    for found in error.exceptions:
        if isinstance(found, BaseExceptionGroup):
            found = _first(found)
        if not isinstance(found, asyncio.CancelledError):
            return found
    return error


def _where(error: Exception) -> str:
    """Type and place of an error. Its text may quote payloads, unless it is ours."""
    if isinstance(error, DBOSCompatError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} in {places}"
