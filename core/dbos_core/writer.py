"""Group commit: gather what is pending while the last flush is in flight, then write it all at once.

Every durable change of a process goes through one :class:`CheckpointWriter`. What is pending when the previous flush
returns goes out together, so cost per workflow falls as load rises, and a lone workflow never waits for company.

* One commit's conflict does not fail its neighbours: the store answers per commit.
* A flush whose answer was lost is repeated with ``again=True`` and recognises its own rows.
* A value that the database refuses (``BadCommit``) is found by halving the batch; only its own run hears of it.
* Two commits that write the same run's row never share a flush.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dbos_core.commit import Commit, Mail, Verdict
from dbos_core.errors import BadCommit, Ours, StoreUnavailable
from dbos_core.failpoints import hit
from dbos_core.store.base import Store

logger = logging.getLogger(__name__)

BATCH_COMMITS_MAX = 512
"""Bounds the size of one statement and so the wait of whoever comes next."""

BATCH_CHARACTERS_MAX = 32_000_000
"""The same for what the commits carry: Postgres takes no statement of a gigabyte, and one that cannot be sent would be
repeated for ever. A commit that is longer goes alone."""

SPIN_S = 0.001
"""How long the event loop may be kept awake for the answer to a lone commit."""

_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 2.0

Done = Callable[[Verdict | BadCommit], None]
"""Called on the event loop with what became of the commit. Must not raise."""


@dataclass(slots=True, frozen=True)
class WriterStatistics:
    """Counters since the writer began."""

    flushes: int
    commits: int
    retries: int
    pending: int


class Spin:
    """Keeps the event loop awake while the one commit there is is on its way.

    A loop that goes to sleep for half a millisecond is woken late and finds its processor's caches cold: with one
    workflow at a time that is a tenth of its latency. Under load there is other work and this never happens. It is
    given up as soon as answers come too late for it, as from a database far away, and never done on one processor.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s if (os.cpu_count() or 1) > 1 else 0.0
        self._usual_s = 0.0
        """How long a lone commit takes, lately."""
        self._begun: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        self._begun = time.perf_counter()
        if self._usual_s < self._limit_s:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._turn, self._begun)

    def __exit__(self, *error: object) -> None:
        assert self._begun is not None
        self._usual_s += (time.perf_counter() - self._begun - self._usual_s) / 8
        self._begun = None

    def _turn(self, begun: float) -> None:
        if self._begun == begun and time.perf_counter() - begun < self._limit_s:
            assert self._loop is not None
            self._loop.call_soon(self._turn, begun)


_AT_REST = contextlib.nullcontext()


class CheckpointWriter:
    """The one door to durable state. Owned by the kernel, which runs :meth:`run` as a task."""

    def __init__(self, store: Store, process_id: str, *, spin_s: float = SPIN_S) -> None:
        """``spin_s``: how long a lone commit may keep the event loop awake (see :class:`Spin`); 0: never."""
        self._store = store
        self._process_id = process_id
        self._spin = Spin(spin_s)
        self._pending: deque[tuple[Commit, Done]] = deque()
        self._wakeup: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = False
        self._under_way: dict[int, tuple[Commit, Done]] = {}
        """Commits of the batch in hand that are not answered yet, by identity."""
        self._flushes = self._commits = self._retries = 0
        self.available = True
        """False while the database does not answer."""
        self.on_mail: Callable[[Mail], None] = lambda _: None
        """Called with each message that was committed to a run that was there already, before its sender hears of it."""

    def submit(self, commit: Commit, done: Done) -> None:
        """Put a commit into the next flush; ``done`` hears what became of it."""
        self._pending.append((commit, done))
        self._idle.clear()
        wakeup = self._wakeup
        if wakeup is not None and not wakeup.done():
            wakeup.set_result(None)

    async def write(self, commit: Commit) -> Verdict:
        """Submit and wait. A caller that is cancelled leaves its commit in the batch.

        Raises:
            BadCommit: the database refuses a value.
            StoreUnavailable: this process ends, and the database is away.
            Ours: the message could not be written, and nobody knows why; its sender may try again.
        """
        future: asyncio.Future[Verdict | BadCommit] = asyncio.get_running_loop().create_future()

        def done(verdict: Verdict | BadCommit) -> None:
            if not future.done():
                future.set_result(verdict)

        self.submit(commit, done)
        verdict = await future
        if isinstance(verdict, BadCommit):
            raise verdict
        if verdict is Verdict.CLAIM_LOST and self._ended:
            raise StoreUnavailable(
                f"the database is away, and this process ends: whether something was written for run "
                f"{commit.workflow_uuid!r} is not known. It is safe to repeat."
            )
        if verdict is Verdict.CLAIM_LOST and not commit.fenced and commit.start is None:
            raise Ours(
                f"a message to run {commit.workflow_uuid!r} could not be written; the log has the reason. "
                "Send it again; please report it"
            )
        return verdict

    async def drain(self) -> None:
        """Wait until nothing is pending or in flight."""
        await self._idle.wait()

    def rests(self) -> bool:
        """Is nothing pending or in flight?"""
        return self._idle.is_set()

    def statistics(self) -> WriterStatistics:
        return WriterStatistics(self._flushes, self._commits, self._retries, len(self._pending))

    async def run(self) -> None:
        """Flush for ever. Cancelled by the kernel after :meth:`drain`."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not self._pending:
                    self._idle.set()
                    self._wakeup = loop.create_future()
                    await self._wakeup
                    self._wakeup = None
                batch = self._gather()
                self._under_way = {id(item[0]): item for item in batch}
                await self._flush(batch)
        except asyncio.CancelledError:
            self._end([*self._under_way.values(), *self._pending])
            raise

    def _end(self, unanswered: Sequence[tuple[Commit, Done]]) -> None:
        """This process ends while the database is away: nobody shall wait for ever for what it can write no more."""
        self._ended = True
        self._pending.clear()
        for _, done in unanswered:
            try:
                done(Verdict.CLAIM_LOST)
            except Exception:
                logger.exception("a commit's callback raised; only its own run is concerned")

    def _gather(self) -> list[tuple[Commit, Done]]:
        """Take the next batch: in order, one row-writing commit per run."""
        pending = self._pending
        batch: list[tuple[Commit, Done]] = []
        written: set[str] = set()
        mailed: set[str] = set()
        deferred: list[tuple[Commit, Done]] = []
        characters = 0
        while pending and len(batch) < BATCH_COMMITS_MAX:
            item = pending.popleft()
            commit = item[0]
            characters += _characters(commit)
            if characters > BATCH_CHARACTERS_MAX and batch:
                pending.appendleft(item)
                break
            run = commit.workflow_uuid
            plain_mail = not commit.fenced and commit.start is None
            # Several plain mails to one run merge in the store; anything else wants the run's row for itself, and
            # what was deferred keeps its place before what came later.
            clash = run in written or (run in mailed and not plain_mail)
            if clash:
                deferred.append(item)
                written.add(run)
                continue
            (mailed if plain_mail else written).add(run)
            batch.append(item)
        pending.extendleft(reversed(deferred))
        return batch

    async def _flush(self, batch: list[tuple[Commit, Done]]) -> None:
        commits = [commit for commit, _ in batch]
        hit("writer.before_flush")
        try:
            verdicts = await self._flush_until_answered(commits)
        except BadCommit as error:
            await self._isolate(batch, error)
            return
        except Exception as error:
            # Ours. Nothing was learnt of these commits: runs reload and see for themselves, and what did land is
            # recognised when it comes again. One of them alone may be to blame.
            if len(batch) > 1:
                logger.warning("flush of %d commits failed (%s); they are written in halves", len(batch), error)
                await self._isolate(batch, error)
                return
            logger.exception("writing for run %s failed; it is reloaded", commits[0].workflow_uuid)
            verdicts = [Verdict.CLAIM_LOST]
        hit("writer.after_flush")
        self._flushes += 1
        self._commits += len(batch)
        for (commit, done), verdict in zip(batch, verdicts, strict=True):
            self._under_way.pop(id(commit), None)
            try:
                if verdict is Verdict.COMMITTED and commit.mail and commit.start is None:
                    for message in commit.mail:
                        self.on_mail(message)
                done(verdict)
            except Exception:
                logger.exception("a commit's callback raised; only its own run is concerned")

    async def _flush_until_answered(self, commits: list[Commit]) -> list[Verdict]:
        again = False
        delay_s = _RETRY_FIRST_S
        while True:
            try:
                with self._spin if len(commits) == 1 else _AT_REST:
                    verdicts = await self._store.flush(self._process_id, commits, again=again)
            except StoreUnavailable as error:
                if self.available:
                    logger.warning("the database is away (%s); %d commits wait and are repeated", error, len(commits))
                self.available = False
                self._retries += 1
                again = True
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_MAX_S)
                continue
            if not self.available:
                logger.warning("the database is back; %d commits are written", len(commits))
                self.available = True
            return verdicts

    async def _isolate(self, batch: list[tuple[Commit, Done]], error: Exception) -> None:
        """Find the commit that cannot be written; its neighbours are."""
        if len(batch) == 1 and isinstance(error, BadCommit):
            self._under_way.pop(id(batch[0][0]), None)
            try:
                batch[0][1](error)
            except Exception:
                logger.exception("a commit's callback raised; only its own run is concerned")
            return
        middle = len(batch) // 2
        await self._flush(batch[:middle])
        await self._flush(batch[middle:])


def _characters(commit: Commit) -> int:
    """How much a commit carries, about: its large parts."""
    size = 0
    if (entry := commit.entry) is not None:
        size += len(entry.record)
    if (new := commit.start) is not None:
        size += len(new.inputs) + len(new.memo or "")
    if (close := commit.close) is not None:
        size += len(close.record) + len(close.output or "")
        if close.successor is not None:
            size += len(close.successor.inputs)
    for message in commit.mail:
        size += len(message.message)
    for row in commit.activities:
        size += len(row.spec or "") + len(row.heartbeat or "") + len(row.last_failure or "")
    for update in commit.updates:
        size += len(update.outcome or "")
    return size
