"""PostgresStore: the promises of ``base.Store`` on PostgreSQL, through asyncpg.

Wiring only: each method hands over to the module that holds its SQL.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import asyncpg

from dbos_core.commit import (
    Close,
    Commit,
    LoadedRun,
    Mail,
    NewRun,
    Reset,
    RunRow,
    StartAnswer,
    UpdateRow,
    Verdict,
)
from dbos_core.errors import StoreUnavailable
from dbos_core.search import Count, Page, Query
from dbos_core.store.base import HeartbeatAnswer, KnownProcess, OfferedActivity, ProcessInfo, Pulse, RequestRow, Wake
from dbos_core.store.postgres import claim, failing, listing, load, offers, requests, reset, runs, updates
from dbos_core.store.postgres.connect import Database
from dbos_core.store.postgres.flush import Author, flush
from dbos_core.store.postgres.jobs import PostgresJobs
from dbos_core.store.postgres.listen import Listener
from dbos_core.store.postgres.lookback import Lookback
from dbos_core.store.postgres.schedules import PostgresSchedules
from dbos_core.store.postgres.schema.migrate import migrate
from dbos_core.store.postgres.schema.names import Schemas
from dbos_core.store.postgres.stray_mail import StrayMail
from dbos_core.store.postgres.versions import Versions

_HAS_TRIGGER = """
    select exists (select from pg_trigger
                    where tgrelid = to_regclass($1) and tgname = 'dbos_notifications_trigger' and tgenabled <> 'D')"""

DROP_EVERY_S = 300.0
"""How often a process deletes questions whose askers went away."""

SWEEP_EVERY_S = 10.0
"""How often a process looks for what stock tools did to runs that it does not own."""

TOUCHED_MAX = 1_000
"""What it finds at once, at most."""


class PostgresStore(PostgresSchedules):
    """Durable state of one namespace in one database."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "default",
        application_name: str = "dbos-compat",
        application_version: str = "",
        create: bool = True,
        pool_max: int = 8,
        statement_cache: int = 512,
        settings: dict[str, str] | None = None,
    ) -> None:
        """
        Args:
            url: ``postgresql://user:password@host:port/database``.
            namespace: selects the two schemas, see ``schema_names``.
            application_name: owner of the schema; every row carries it.
            application_version: what stock tools show as the version, until ``register`` tells another.
            create: make the schema where it is missing.
            pool_max: sessions at most, besides the one that listens.
            statement_cache: prepared statements per session. 0 behind a transaction pooler (pgbouncer): then nothing
                is prepared and no session setting is made, and a lost session cannot be ended on the server (``lost``).
            settings: session settings (``dbos_compat.now_ms`` stops the clock in tests).
        """
        self.schemas = Schemas.of(namespace)
        self.application_name = application_name
        self._version = application_version
        self._create = create
        self._db = Database(
            url, self.schemas, pool_max=pool_max, statement_cache=statement_cache, settings=settings or {}
        )
        self.jobs = PostgresJobs(self._db)
        self._listener = Listener(self._db)
        self._announce_mail = False
        self._cancellations = Lookback()
        self._sweep_at = self._drop_at = 0.0
        self._claim_lost = False
        self._maybe_taken: offers.Attempts = []
        self._stray_mail = StrayMail(self._db)
        self._listener.add(self._stray_mail.heard)

    @property
    def database(self) -> Database:
        """For modules that read besides the Store's calls (listing)."""
        return self._db

    @property
    def versions(self) -> Versions:
        """For operators: which version open runs are of."""
        return Versions(self._db)

    async def open(self) -> None:
        async with self._db.session("checking the schema") as session:
            await _migrate(session, self.schemas, self.application_name, self._create)
            table = self.schemas.fill("{dbos}.notifications")
            self._announce_mail = not await session.fetchval(_HAS_TRIGGER, table)
        await self._db.open()
        await self._listener.start()

    async def close(self) -> None:
        await self._listener.stop()
        await self._stray_mail.stop()
        await self._db.close()

    async def now_ms(self) -> int:
        return int(await self._db.value("reading the clock", "select {own}.now_ms()", safe=True))

    def _author(self, process_id: str) -> Author:
        return Author(process_id, self.application_name, self._version, self._announce_mail)

    # -- processes -----------------------------------------------------------------------------------------------

    async def register(self, process: ProcessInfo, lease_ms: int) -> None:
        self._version = process.application_version
        await claim.register(self._db, process, lease_ms, self.application_name)
        self._stray_mail.start()

    async def pulse(self, process: ProcessInfo, lease_ms: int) -> Pulse:
        pulse = await claim.pulse(self._db, process, lease_ms)
        with contextlib.suppress(
            StoreUnavailable
        ):  # what the beat has found must not be lost; the next one looks again
            await self._sweep(process, pulse)
        pulse.runnable = pulse.runnable or self._claim_lost
        pulse.offered = pulse.offered or bool(self._maybe_taken)
        return pulse

    async def _sweep(self, process: ProcessInfo, pulse: Pulse) -> None:
        """What is looked at more rarely than once a beat, since it costs more than a probe."""
        if time.monotonic() >= self._sweep_at:  # what stock tools did to runs that nobody owns
            now_ms, queues = await self.now_ms(), process.task_queues
            look = self._cancellations.look(queues, now_ms)
            found = await runs.touched(self._db, process.process_id, queues, look, TOUCHED_MAX)
            if not found:
                self._cancellations.looked(queues, now_ms)
            pulse.touched = tuple(dict.fromkeys((*pulse.touched, *found)))
            self._sweep_at = time.monotonic() + SWEEP_EVERY_S
        if time.monotonic() >= self._drop_at:
            await requests.drop_expired(self._db)
            self._drop_at = time.monotonic() + DROP_EVERY_S

    async def served_elsewhere(self, process_id: str, task_queue: str) -> bool:
        return await claim.served_elsewhere(self._db, process_id, task_queue)

    async def known_processes(self, process_ids: Sequence[str]) -> dict[str, KnownProcess]:
        return await claim.known_processes(self._db, process_ids)

    async def keep_lease(self, process_id: str, lease_ms: int) -> bool:
        return await claim.keep_lease(self._db, process_id, lease_ms)

    async def unregister(self, process_id: str) -> None:
        await claim.unregister(self._db, self._author(process_id), process_id)

    async def take_over(self, process_id: str, lapsed: Sequence[str], queues: Sequence[str], limit: int) -> list[str]:
        with self._remembering_lost_claims():
            return await claim.take_over(self._db, self._author(process_id), lapsed, queues, limit)

    # -- runs ----------------------------------------------------------------------------------------------------

    async def flush(self, process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        return await flush(self._db, self._author(process_id), commits, again=again)

    async def start_by_policy(
        self,
        process_id: str,
        run: NewRun,
        derived_uuid: str,
        terminate_record: str,
        *,
        mail: Sequence[Mail] = (),
        updates: Sequence[UpdateRow] = (),
    ) -> StartAnswer:
        author = self._author(process_id)
        return await runs.start_by_policy(self._db, author, run, derived_uuid, terminate_record, mail, updates)

    async def reset(self, process_id: str, plan: Reset) -> StartAnswer | None:
        return await reset.reset(self._db, self._author(process_id), plan)

    async def claim(
        self, process_id: str, queues: Sequence[str], limit: int, passing_over: Sequence[str] = ()
    ) -> list[str]:
        author = self._author(process_id)
        lost, found = self._claim_lost, self._stray_mail.found
        with self._remembering_lost_claims():
            claimed = await claim.claim(self._db, author, queues, limit, passing_over)
            if len(claimed) < limit:
                # Before saying that there is no more: has a stock tool sent a message to a run that waits for it?
                await self._listener.caught_up()
                await self._stray_mail.settle()
                if self._stray_mail.found > found:
                    claimed += await claim.claim(self._db, author, queues, limit - len(claimed), passing_over)
            if lost:
                # What an earlier claim got although its answer was lost; the caller knows the others already.
                claimed = list(dict.fromkeys([*await claim.owned(self._db, process_id), *claimed]))
                self._claim_lost = False
        return claimed

    async def owned(self, process_id: str) -> list[str]:
        return await claim.owned(self._db, process_id)

    async def claim_one(self, process_id: str, workflow_uuid: str) -> bool:
        with self._remembering_lost_claims():
            return await claim.claim_one(self._db, self._author(process_id), workflow_uuid)

    @contextlib.contextmanager
    def _remembering_lost_claims(self) -> Iterator[None]:
        """When a claim's answer was lost its runs may be ours without anybody knowing: the next ``claim`` tells."""
        try:
            yield
        except StoreUnavailable:
            self._claim_lost = True
            raise

    async def release(self, process_id: str, workflow_uuids: Sequence[str]) -> None:
        await claim.release(self._db, process_id, workflow_uuids)

    async def load(self, workflow_uuids: Sequence[str]) -> list[LoadedRun]:
        return await load.load(self._db, workflow_uuids)

    async def note_task_failure(self, process_id: str, workflow_uuid: str, attempt: int, record: str | None) -> None:
        await failing.note_task_failure(self._db, process_id, workflow_uuid, attempt, record)

    async def mail(self, workflow_uuids: Sequence[str]) -> list[Mail]:
        return await load.mail(self._db, workflow_uuids)

    async def terminate(self, process_id: str, workflow_uuid: str, close: Close) -> Verdict:
        return await runs.terminate(self._db, self._author(process_id), workflow_uuid, close)

    async def take_outbox(self, process_id: str, lapsed: Sequence[str], limit: int) -> list[str]:
        return await claim.take_outbox(self._db, process_id, lapsed, limit)

    async def open_children(self, run_id: str) -> list[RunRow]:
        return await load.open_children(self._db, run_id)

    async def closed_children(self, parent: RunRow) -> list[RunRow]:
        return await load.closed_children(self._db, parent)

    async def posted(self, mail_ids: Sequence[str]) -> set[str]:
        return await load.posted(self._db, mail_ids)

    async def set_history_length(self, workflow_uuid: str, history_length: int) -> None:
        await runs.set_history_length(self._db, workflow_uuid, history_length)

    async def expired(self, limit: int) -> list[str]:
        return await claim.expired(self._db, limit)

    async def find(self, workflow_id: str, run_id: str | None) -> RunRow | None:
        return await load.find(self._db, workflow_id, run_id)

    async def rows(self, workflow_uuids: Sequence[str], *, watch: bool) -> list[RunRow]:
        return await load.rows(self._db, workflow_uuids, watch=watch)

    async def search(self, query: Query) -> Page:
        return await listing.search(self._db, query)

    async def count(self, query: Query) -> Count:
        return await listing.count(self._db, query)

    async def attribute_types(self) -> dict[str, str]:
        return await listing.attribute_types(self._db)

    async def declare_attributes(self, changes: Mapping[str, str | None]) -> None:
        await listing.declare_attributes(self._db, changes)

    async def reopened(self, process_id: str, queues: Sequence[str], limit: int) -> list[str]:
        now_ms = await self.now_ms()
        look = self._cancellations.look(queues, now_ms)
        found, acted = await runs.reopened(self._db, process_id, queues, look, limit)
        if found < limit:
            self._cancellations.looked(queues, now_ms)
        return acted

    # -- updates -------------------------------------------------------------------------------------------------

    async def admit_update(
        self, workflow_uuid: str, update_id: str, mail: Mail, *, watch: bool = False
    ) -> tuple[Verdict, UpdateRow | None]:
        return await updates.admit_update(
            self._db, workflow_uuid, update_id, mail, announce=self._announce_mail, watch=watch
        )

    async def update_row(self, workflow_uuid: str, update_id: str, *, watch: bool) -> UpdateRow | None:
        return await updates.update_row(self._db, workflow_uuid, update_id, watch=watch)

    # -- activities ----------------------------------------------------------------------------------------------

    async def claim_activities(self, process_id: str, queues: Sequence[str], limit: int) -> list[OfferedActivity]:
        maybe, self._maybe_taken = self._maybe_taken, []
        try:
            return await offers.claim_activities(self._db, process_id, queues, limit, maybe)
        except StoreUnavailable:
            self._maybe_taken += maybe
            raise

    async def withdraw_activity(self, workflow_uuid: str, seq: int, attempt: int, *, keep: bool = False) -> bool:
        return await offers.withdraw_activity(self._db, workflow_uuid, seq, attempt, keep=keep)

    async def heartbeat(
        self, workflow_uuid: str, seq: int, attempt: int, details: str | None, worker: str
    ) -> HeartbeatAnswer:
        return await offers.heartbeat(self._db, workflow_uuid, seq, attempt, details, worker)

    # -- requests between processes --------------------------------------------------------------------------------

    async def ask(self, request: RequestRow) -> None:
        await requests.ask(self._db, request)

    async def take_requests(self, process_id: str, queues: Sequence[str], limit: int) -> list[RequestRow]:
        return await requests.take_requests(self._db, process_id, queues, limit)

    async def answer(self, request_id: str, response: str) -> None:
        await requests.answer(self._db, request_id, response)

    async def response(self, request_id: str) -> str | None:
        return await requests.response(self._db, request_id)

    # -- upkeep ----------------------------------------------------------------------------------------------------

    async def delete_run(self, workflow_uuid: str) -> bool:
        return await runs.delete_run(self._db, workflow_uuid)

    async def delete_finished(self, before_ms: int, limit: int) -> int:
        return await runs.delete_finished(self._db, before_ms, limit)

    def listen(self, callback: Callable[[Wake], None]) -> None:
        self._listener.add(callback)


async def _migrate(
    connection: asyncpg.Connection[asyncpg.Record], schemas: Schemas, application_name: str, create: bool
) -> None:
    await migrate(
        connection,
        dbos_schema=schemas.dbos,
        own_schema=schemas.own,
        application_name=application_name,
        create=create,
    )
