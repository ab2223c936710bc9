"""MirrorWorker: the back. It follows the mirrored runs on Temporal, lets the core do the same, and compares."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, HeaderCodecBehavior
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.workbench import Workbench
from dbos_core.clock import SystemClock
from dbos_core.errors import StoreUnavailable
from dbos_core.kernel import Kernel
from dbos_core.store.base import Store
from dbos_core.store.memory import MemoryStore
from dbos_core.store.postgres.store import PostgresStore
from dbos_shadow.allow import Allowances
from dbos_shadow.diff import NOTHING
from dbos_shadow.judging import Baseline, How, code_settings
from dbos_shadow.masks import LED, Mask
from dbos_shadow.mirror.chain import follow_ups
from dbos_shadow.mirror.following import Follower, HistoryGone, Tail
from dbos_shadow.mirror.front import APPLICATION_NAME, NAMESPACE, given_ledger
from dbos_shadow.mirror.ledger import Entry, Ledger
from dbos_shadow.mirror.listing import Lister
from dbos_shadow.mirror.mirrored import Mirrored, Rules
from dbos_shadow.mirror.muted import Heard, MutedParking, MutedRunner
from dbos_shadow.mirror.notes import Note
from dbos_shadow.mirror.patience import patiently
from dbos_shadow.mirror.weighing import Weigher
from dbos_shadow.reading.decoding import CannotDecode
from dbos_shadow.reading.listing import current_run
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way

if TYPE_CHECKING:
    from dbos_shadow.mirror.keeping import Keeping, Kept

__all__ = ["Followed", "MirrorWorker"]

logger = logging.getLogger("dbos_shadow")

PREFIX = "shadow-"
HISTORIES_AT_ONCE = 16
LOOK_EVERY_S = 0.5
"""How often the ledger is looked at for new runs."""
RUNS_AT_ONCE = 2_000
AGAIN_S = 1.0
LIST_EVERY_S = 5.0
LEASE = timedelta(seconds=10)
RETENTION = timedelta(days=30)
CLEAR_EVERY_S = 600.0
CLEAR_RUNS_MAX = 1_000

_FINE = frozenset({Verdict.MATCH, Verdict.ACCEPTED})
T = TypeVar("T")
OnJudgement = Callable[[Judgement], Awaitable[None] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a worker has done since it began."""

    following: int
    verdicts: dict[Verdict, int]
    requests: int
    """For histories, made to Temporal."""


class MirrorWorker:
    """The back of a mirror::

        async with MirrorWorker(temporal, url="postgresql://…", workflows=[Order, Refund]) as worker:
            ...

    or ``await worker.run()`` in a program of its own. Its workflows run on the core, on Postgres, with the recorded
    results of Temporal's; no activity is given to it and none is ever run. When Temporal has closed a run, what the core
    has made of it is compared, and a :class:`~dbos_shadow.verdict.Judgement` comes out.

    It may be killed at any time: whoever runs next on the same database goes on. One worker at a time follows the runs of
    a database; another one waits until that one is gone.
    """

    def __init__(
        self,
        temporal: Client,
        *,
        workflows: Sequence[type],
        url: str | None = None,
        namespace: str = NAMESPACE,
        ledger: Ledger | None = None,
        prefix: str = PREFIX,
        allowances: Allowances = NOTHING,
        masks: Sequence[Mask] = LED,
        kept: Kept | None = None,
        baseline: Baseline = Baseline.MISMATCHES,
        on_judgement: OnJudgement | None = None,
        query: str = "",
        histories_at_once: int = HISTORIES_AT_ONCE,
        runs_at_once: int = RUNS_AT_ONCE,
        lease: timedelta = LEASE,
        retention: timedelta = RETENTION,
        **worker_options: Any,
    ) -> None:
        """
        Args:
            temporal: a client that is connected to Temporal, with the data converter that the workflows need.
            workflows: as their Temporal workers have them. Runs of other types are not run.
            url: of the shadow's database, ``postgresql://user:password@host/name``; the one that the fronts have.
            namespace: of the shadow, as the fronts have it.
            ledger: instead of ``url``, one that a front in this process has; then all is in memory.
            prefix: with which the ids of shadow runs begin.
            allowances, masks: as for replay.
            kept: also keep verdicts where those of replays are, for ``dbos-compat shadow report``.
            baseline: of which runs the history is replayed, when it is over, twice on Temporal's own replayer and once more
                on the core, to tell what is the workflow's own doing.
            on_judgement: called with every verdict, at least once per run; also as a coroutine function.
            query: a list filter; runs that match it are mirrored too, if they begin while this worker is there (or up to two
                minutes before): what a schedule starts, or a service without a front.
            histories_at_once: requests for histories that may be under way at a time.
            runs_at_once: that are followed, each with its history in memory; others wait in the ledger until one is closed.
            lease: how long after this process has died its runs are taken up by the next one.
            retention: how long verdicts are kept, and the journals of runs that do not match.
            worker_options: whatever else ``temporalio.worker.Worker`` takes for workflows (``workflow_runner``,
                ``interceptors``, ``workflow_failure_exception_types`` …).

        Raises:
            ValueError: neither ``url`` nor ``ledger``, or both.
            BadDatabaseURL: the URL is none.
        """
        self._temporal = temporal
        self.ledger = given_ledger(url, namespace, ledger)
        """What is mirrored, and what was said of it."""
        self._url = url
        self._namespace = namespace
        self._identity = f"{os.getpid()}@{socket.gethostname()} mirror"
        self._on_judgement = on_judgement
        self._runs_at_once = runs_at_once
        self._full = False
        self._lease = lease
        self._retention = retention
        self._lister = Lister(temporal, query) if query else None
        self._follower = Follower(temporal, at_once=histories_at_once)
        config = temporal.config()
        plugins = (*config.get("plugins", ()), *worker_options.pop("plugins", ()))
        self._rules = Rules(
            allowances=allowances,
            masks=masks,
            headers_encoded=config.get("header_codec_behavior") is HeaderCodecBehavior.CODEC,
            prefix=prefix,
        )
        self._bench = Workbench(
            workflows,
            data_converter=config["data_converter"],
            client_interceptors=config["interceptors"],
            plugins=plugins,
            namespace=temporal.namespace,
            identity=self._identity,
            **worker_options,
        )
        self._weigher = Weigher(temporal, self._bench, baseline, headers_encoded=self._rules.headers_encoded)
        self._following: dict[int, asyncio.Task[None]] = {}
        self._open: dict[int, Mirrored] = {}
        """Of them, those without a verdict."""
        self._verdicts: Counter[Verdict] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._keeping: Keeping | None = None
        if kept is not None:
            self._keeping = _keeping(kept, self._settings(workflows, worker_options, baseline))

    def _settings(
        self, workflows: Sequence[type], worker_options: Mapping[str, Any], baseline: Baseline
    ) -> dict[str, Any]:
        """All that decides a verdict."""
        rules = self._rules
        how = How(way=Way.MIRROR, baseline=baseline)
        today = rules.allowances.today
        return {
            **code_settings(workflows, self._bench.data_converter, worker_options, how),
            "namespace": self._temporal.namespace,
            "encoded_headers": rules.headers_encoded,
            "accepted": sorted(entry.fingerprint for entry in rules.allowances.accepted if entry.holds(today)),
            "masks": [mask.name for mask in rules.masks],
        }

    @property
    def config(self) -> str | None:
        """The hash under which the verdicts of this worker are found among the results. None: they are not kept there."""
        return None if self._keeping is None else self._keeping.config

    @property
    def followed(self) -> Followed:
        return Followed(following=len(self._following), verdicts=dict(self._verdicts), requests=self._follower.requests)

    async def caught_up(self) -> None:
        """Return when every run in the ledger has a verdict: those that are still open on Temporal are waited for."""
        while True:
            await self._ready.wait()
            if not await patiently(lambda: self.ledger.unjudged(0, 1)):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    # -- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Return when the runs of the ledger are followed: at once, or when the worker before is gone."""
        self._task = asyncio.create_task(self.run(), name="dbos_shadow mirror")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([ready, self._task], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def run(self) -> None:
        """Follow, until cancelled.

        Raises:
            BadDatabaseURL, SchemaMissing, ApplicationMismatch: the database cannot be the shadow's.
            RPCError: Temporal refuses the list filter.
        """
        try:
            while True:
                try:
                    await self.ledger.open()
                    while not await self.ledger.lead():
                        logger.info("another worker follows the runs of this mirror; this one waits")
                        await asyncio.sleep(AGAIN_S)
                    async with self._bench, self._kernel() as kernel:
                        await self._lead(kernel)
                except StoreUnavailable as error:
                    logger.warning("the mirror's database is away: %s", error)
                finally:
                    await self.ledger.close()
                await asyncio.sleep(AGAIN_S)
        finally:
            self._ready.clear()

    @contextlib.asynccontextmanager
    async def _kernel(self) -> AsyncIterator[Kernel]:
        store: Store
        if self._url is None:
            store = MemoryStore(SystemClock())
        else:
            store = PostgresStore(self._url, namespace=self._namespace, application_name=APPLICATION_NAME)
        kernel = await Kernel.open(
            store,
            identity=self._identity,
            application_version="1",
            lease_ms=int(self._lease.total_seconds() * 1000),
            spin_s=0,
        )
        try:
            yield kernel
        finally:
            await kernel.close()

    async def _lead(self, kernel: Kernel) -> None:
        """Follow what is in the ledger. Returns when somebody else does."""
        heard: dict[str, Heard] = {}
        runners: dict[str, MutedRunner] = {}
        kernel.parking = MutedParking(kernel, heard)

        def serve(task_queue: str) -> None:
            if task_queue not in runners:
                runners[task_queue] = MutedRunner(self._bench.runner, task_queue, heard)
                kernel.serve(runners[task_queue])

        def mirrored(note: Note) -> Mirrored:
            return Mirrored(
                note.workflow_id,
                note.run_id,
                bench=self._bench,
                kernel=kernel,
                heard=heard,
                serve=serve,
                rules=self._rules,
            )

        last, clear_at_s, list_at_s, loop = 0, 0.0, 0.0, asyncio.get_running_loop()
        if self._keeping is not None:
            await patiently(self._keeping.begin)
        try:
            while await self.ledger.lead():
                if self._lister is not None and loop.time() >= list_at_s:
                    await self._lister.note(self.ledger)
                    list_at_s = loop.time() + LIST_EVERY_S
                entries = await self.ledger.unjudged(last, self._room())
                for entry in entries:
                    last = entry.number
                    self._following[entry.number] = asyncio.create_task(
                        self._follow(entry, mirrored), name=f"dbos_shadow mirror {entry.number}"
                    )
                self._ready.set()
                if loop.time() >= clear_at_s:
                    await self._clear(kernel)
                    clear_at_s = loop.time() + CLEAR_EVERY_S
                if self._keeping is not None:
                    await self._keeping.look(self._open.values, self.ledger)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await self._end_following()
            if self._keeping is not None:
                await self._keeping.leave(self.ledger)

    def _room(self) -> int:
        """For how many more runs."""
        room = self._runs_at_once - len(self._following)
        if (room <= 0) is not self._full:
            self._full = not self._full
            if self._full:
                logger.warning("%d runs are open; others wait. With runs_at_once they need not.", len(self._following))
        return max(0, room)

    async def _clear(self, kernel: Kernel) -> None:
        """Delete what is older than it should be kept."""
        await self.ledger.purge(self._retention)
        before_ms = kernel.clock.now_ms() - int(self._retention.total_seconds() * 1000)
        await kernel.store.delete_finished(before_ms, CLEAR_RUNS_MAX)
        if self._keeping is not None:
            try:
                await self._keeping.purge(before_ms)
            except StoreUnavailable as error:
                logger.warning("old results of the mirror stay for now: %s", error)

    async def _end_following(self) -> None:
        while works := list(self._following.values()):
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            self._following.clear()

    # -- one run ---------------------------------------------------------------------------------------------------

    async def _follow(self, entry: Entry, mirrored: Callable[[Note], Mirrored]) -> None:
        """From a note to a verdict."""
        note = entry.note
        try:
            if not note.run_id:
                await self._resolve(note)
                return
            run = self._open[entry.number] = mirrored(note)
            judgement = await self._weigher.weighed(await self._judged(run))
            judgement = replace(judgement, workflow_type=judgement.workflow_type or note.workflow_type)
            del self._open[entry.number]
            # The verdict last: who is killed before it does all of this again, from the history, and loses nothing.
            await run.leave(keep=judgement.verdict not in _FINE)
            await self._say(note, judgement)
        except Exception:
            logger.exception("the mirror of workflow %r stops; it is taken up when a worker starts", note.workflow_id)
        finally:
            self._open.pop(entry.number, None)
            self._following.pop(entry.number, None)

    async def _resolve(self, note: Note) -> None:
        """Which run did a message go to? The one that is current now, or close enough."""
        run = None
        while True:
            try:
                found = await current_run(self._temporal, note.workflow_id)
                run = Note(workflow_id=note.workflow_id, run_id=found.run_id, workflow_type=found.workflow_type)
                break
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    break
                await asyncio.sleep(AGAIN_S)
        await patiently(lambda: self.ledger.resolve(note, run))

    async def _judged(self, run: Mirrored) -> Judgement:
        """Follow a run to its end. A judgement, whatever happens."""
        tail = Tail(workflow_id=run.workflow_id, run_id=run.run_id)
        failed: Judgement | None = None
        try:
            while not tail.closed:
                if not await self._follower.more(tail):
                    continue
                events, tail.events = tail.events, []
                more = list(follow_ups(events, run.workflow_id, self._temporal.namespace))
                if more:
                    await patiently(partial(self.ledger.note, more))
                failed = failed or await self._added(run, events)
        except HistoryGone as error:
            note = f"Temporal does not have the history (any more): {error}"
            return failed or run.nothing(Verdict.INCONCLUSIVE, Reason.TRUNCATED, note)
        if failed is not None:
            return failed
        return await self._tried(run, run.judgement)

    async def _added(self, run: Mirrored, events: list[HistoryEvent]) -> Judgement | None:
        """None, if all went well. Of a run that the shadow is through with it is still followed what follows from it."""

        async def add() -> None:
            await run.add(events)

        return await self._tried(run, add)

    async def _tried(self, run: Mirrored, work: Callable[[], Awaitable[T]]) -> T | Judgement:
        """What comes of it; if nothing does, why."""
        try:
            return await work()
        except CannotDecode as error:
            return replace(run.nothing(Verdict.INCONCLUSIVE, Reason.SEALED, str(error)), subject="codec")
        except Exception as error:
            logger.exception("the mirror of workflow %r run %s failed", run.workflow_id, run.run_id)
            note = f"The shadow itself failed: {type(error).__name__}."
            found = run.nothing(Verdict.INCONCLUSIVE, Reason.NOT_MIRRORED, note)
            return replace(found, subject=type(error).__name__)

    async def _say(self, note: Note, judgement: Judgement) -> None:
        keeping = self._keeping
        if keeping is not None:
            await patiently(partial(keeping.verdict, judgement))
        if self._on_judgement is not None:
            try:
                answer = self._on_judgement(judgement)
                if inspect.isawaitable(answer):
                    await answer
            except Exception:
                logger.exception("on_judgement failed on workflow %r; the verdict is kept", note.workflow_id)
        said = judgement.note
        if not said and judgement.comparison is not None and (first := judgement.comparison.first) is not None:
            said = f"First divergence: {first.level} {first.kind.value} at {first.pattern}"
        about = replace(note, workflow_type=judgement.workflow_type)
        await patiently(lambda: self.ledger.judged(about, judgement.verdict, judgement.reason, said))
        if keeping is not None:
            keeping.confirmed(judgement.run_id)
        self._verdicts[judgement.verdict] += 1


def _keeping(kept: Kept, settings: Mapping[str, Any]) -> Keeping:
    from dbos_shadow.mirror.keeping import Keeping  # it needs the extra, and most mirrors in services are fronts

    return Keeping(kept, settings)
