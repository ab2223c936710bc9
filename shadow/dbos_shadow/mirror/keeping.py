"""Keeping: a mirror's verdicts on their way to where those of replays and free runs are, for the same reports.

The ledger knows which runs are mirrored, and what was said of each in a word; the results have all of it (differences, step
lists of the clearest), scrubbed. A verdict is in the results before the ledger has it, so whoever is killed between the two
says the same once more.

A run that stays open is told as well, as *inconclusive: still running*, so that a report at any time counts it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dbos_core.errors import StoreUnavailable
from dbos_core.results import CampaignRow, ResultRow, Results
from dbos_shadow.campaign import config_hash
from dbos_shadow.mirror.ledger import Ledger
from dbos_shadow.mirror.notes import Note
from dbos_shadow.report.build import COMMAND
from dbos_shadow.report.scrub import Scrubber
from dbos_shadow.results.kept import Keeper
from dbos_shadow.results.rows import row_of
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way

__all__ = ["Keeping", "Kept", "Open", "still_running"]

logger = logging.getLogger("dbos_shadow")

OPEN_S = 5.0
"""A run that is open for so long is told as still running. Most are over before."""
AGAIN_S = 24 * 3600.0
"""Told once more after so long, or else retention would take it for old."""
BATCH = 500
LAST_WORDS_S = 5.0
SELECTION = "runs that services have started or messaged, and what followed from them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where verdicts are kept, and what may be seen of a run there."""

    results: Results
    """Opened, and closed, by whoever gives them."""
    key: bytes = field(repr=False)
    """Of the hashes that stand for values, at least 16 bytes; the same one each time."""
    values: tuple[str, ...] = ()
    """Globs of paths whose values are kept, such as ``activity charge: inputs[0].cents``."""
    notes: bool = False
    """Keep what verdicts say in words; they may quote values."""
    name: str = ""
    """Of the campaign, for reports."""
    command: str = COMMAND
    """Shows an exemplar again; ``{workflow_id}`` and ``{run_id}`` are filled in."""


class Open(Protocol):
    """A run that has no verdict yet."""

    workflow_id: str
    run_id: str
    workflow_type: str

    @property
    def events(self) -> int:
        """How many are known of it."""


class Keeping:
    """One configuration's verdicts, as they come. Calls may raise ``StoreUnavailable``, and can be repeated."""

    def __init__(
        self,
        kept: Kept,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """
        Args:
            settings: of the code and the options: all that decides a verdict.
            clock: seconds.
            now_ms: milliseconds since the epoch: when a result was made, for retention.
        """
        shown = {"shown": [sorted(kept.values), kept.notes], "key": config_hash({"key": kept.key.hex()})[:6]}
        self._settings = {**settings, **shown}
        self.config = config_hash(self._settings)
        """The hash under which the results are found."""
        self._kept = kept
        self._results = kept.results
        self._keep = Keeper(Scrubber(kept.key, values=kept.values, notes=kept.notes))
        self._clock = clock
        self._now_ms = now_ms
        self._open_since: dict[str, float] = {}
        self._said_at: dict[str, float] = {}
        self._unconfirmed: set[str] = set()
        """Runs with a verdict in the results that the ledger may not have yet."""
        self._one_by_one = asyncio.Lock()
        """A verdict never comes before what was said of the run while it was open."""
        self._lost: Mapping[str, int] = {}

    async def begin(self) -> None:
        """Say what the results are of that follow."""
        said = {"selection": SELECTION, "sample": sample_words(self._lost), "command": self._kept.command}
        row = CampaignRow(
            config=self.config,
            name=self._kept.name,
            settings=json.dumps({**self._settings, **said}, default=str),
            begun_ms=self._now_ms(),
        )
        await self._results.begin(row)

    async def verdict(self, judgement: Judgement) -> None:
        """Keep it. ``confirmed`` has to follow, once the ledger has it too."""
        async with self._one_by_one:
            self._unconfirmed.add(judgement.run_id)
            self._open_since.pop(judgement.run_id, None)
            self._said_at.pop(judgement.run_id, None)
            await self._results.add(self.config, [self._row(judgement)])

    def confirmed(self, run_id: str) -> None:
        self._unconfirmed.discard(run_id)

    async def open_runs(self, live: Callable[[], Iterable[Open]]) -> None:
        """Tell of runs that have been open for a while, if that was not told lately.

        Args:
            live: those that are followed at this moment and have no verdict.
        """
        async with self._one_by_one:
            now = self._clock()
            due = []
            for run in live():
                since = self._open_since.setdefault(run.run_id, now)
                said_at = self._said_at.get(run.run_id)
                if now - since >= OPEN_S and (said_at is None or now - said_at >= AGAIN_S):
                    due.append(run)
            for at in range(0, len(due), BATCH):
                some = due[at : at + BATCH]
                await self._results.add(self.config, [self._row(_still_open(run)) for run in some])
                self._said_at.update((run.run_id, now) for run in some)

    async def left_open(self, notes: Iterable[Note]) -> None:
        """Tell of runs that nobody follows any more, or not yet: whoever stops leaves them without a verdict."""
        async with self._one_by_one:
            left = [note for note in notes if note.run_id and note.run_id not in self._unconfirmed]
            rows = [
                self._row(still_running(note.workflow_type, note.workflow_id, note.run_id))
                for note in left
                if note.run_id not in self._said_at
            ]
            await self._results.add(self.config, rows)

    async def look(self, live: Callable[[], Iterable[Open]], ledger: Ledger) -> None:
        """Tell what there is to be told while runs are followed. It holds up nobody: results that are away are told later."""
        try:
            await self.open_runs(live)
            await self.lost(await ledger.never_noted())
        except StoreUnavailable as error:
            logger.warning("the results of the mirror are away: %s", error)

    async def leave(self, ledger: Ledger) -> None:
        """The last words of a worker: which runs have no verdict."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                last = 0
                while entries := await ledger.unjudged(last, BATCH):
                    last = entries[-1].number
                    await self.left_open(entry.note for entry in entries)
        except (StoreUnavailable, TimeoutError) as error:
            logger.warning("which runs are still open is not in the results: %s", error)

    async def lost(self, calls: Mapping[str, int]) -> None:
        """So many calls, by workflow type, could not be noted: reports say it in their head."""
        if calls != self._lost:
            self._lost = dict(calls)
            await self.begin()

    async def purge(self, before_ms: int) -> None:
        """Delete what mirrors have said before that, under whichever configuration."""
        for row in await self._results.campaigns():
            if json.loads(row.settings).get("way") == Way.MIRROR:
                await self._results.purge(before_ms=before_ms, config=row.config)
        await self.begin()  # a campaign without results was deleted, too

    def _row(self, judgement: Judgement) -> ResultRow:
        return row_of(judgement, document=self._keep(judgement), at_ms=self._now_ms())


def still_running(workflow_type: str, workflow_id: str, run_id: str) -> Judgement:
    """What is said of a run that Temporal has not closed."""
    return Judgement(
        workflow_type=workflow_type,
        workflow_id=workflow_id,
        run_id=run_id,
        verdict=Verdict.INCONCLUSIVE,
        way=Way.MIRROR,
        reason=Reason.STILL_RUNNING,
        note="Temporal has not closed the run, or the shadow has not come to its end.",
    )


def _still_open(run: Open) -> Judgement:
    found = still_running(run.workflow_type, run.workflow_id, run.run_id)
    return dataclasses.replace(found, events=run.events)


def sample_words(lost: Mapping[str, int]) -> str:
    """Of which calls nobody could take note, beside the others."""
    if not lost:
        return "all that were noted"
    types = ", ".join(f"{name or 'of unknown type'} {count:,}" for name, count in sorted(lost.items()))
    return f"all that were noted; {sum(lost.values()):,} calls could not be noted ({types}): runs may be missing"
