"""Random lives of three processes on one store: starts, steps, mail, crashes, takeovers, lost answers, in any order.

Every answer is compared with the oracle (``store_model``), and on Postgres also with the memory store, step by step.
After every step:

* a journal is what was committed to it, in order: contiguous and never rewritten;
* a message is consumed once, and what waits is the rest, in order;
* a closed run never changes again;
* a workflow id has one current run, and no other open one.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dbos_core.clock import SystemClock
from dbos_core.commit import (
    PARK_FOREVER,
    Commit,
    IdConflict,
    IdReuse,
    Mail,
    RunStatus,
    StartAnswer,
    StartResult,
    Verdict,
)
from dbos_core.mailbox import OWN_ID
from dbos_core.store.base import ProcessInfo, Store
from dbos_core.store.memory import MemoryStore
from tests.property.store_model import LATER, NEVER, NOW, Change, Letter, Model, ModelRun, Start, Step
from tests.store.support import HOUR, close, entry, new_run

if TYPE_CHECKING:
    from tests.fixtures.postgres import PostgresServer

PROCESSES = 3
IDS = ["a", "b"]
CLOSINGS = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED]
LANDED = (Verdict.COMMITTED, Verdict.DUPLICATE)

AT_ONCE, LATER_ON, LOST, LANDED_BUT_LOST = "at once", "later", "lost", "landed, answer lost"

processes = st.integers(0, PROCESSES - 1)
sendings = st.sampled_from([AT_ONCE, AT_ONCE, AT_ONCE, LATER_ON, LATER_ON, LOST, LANDED_BUT_LOST])


@dataclass
class Copy:
    """What a process knows of a run: it may be out of date, as the copy of a process that lost the run is."""

    next_position: int
    known_mail: list[str]
    consumed: set[str]


@dataclass
class Actor:
    """One process: its copies, what its writer gathers, and the flush whose answer it never got."""

    id: str
    copies: dict[str, Copy] = field(default_factory=dict)
    outbox: list[Change] = field(default_factory=list)
    unanswered: list[Change] | None = None
    landed: list[Verdict] | None = None
    """What the unanswered flush did, which the process does not know."""

    def busy_with(self, run: str) -> bool:
        pending = [*self.outbox, *(self.unanswered or [])]
        return any(isinstance(change, Step) and change.run == run for change in pending)


class World:
    """One store, seen through a connection per process. Turns changes into commits, since times differ per store."""

    def __init__(self, stores: list[Store], now_ms: int) -> None:
        self.stores = stores
        self.now_ms = now_ms
        self.mail_times: dict[str, int] = {}
        self.closed: dict[str, Any] = {}

    async def flush(self, number: int, process: str, changes: list[Change], *, again: bool) -> list[Verdict]:
        commits = [self.commit(change) for change in changes]
        verdicts = await self.stores[number].flush(process, commits, again=again)
        for commit, verdict in zip(commits, verdicts, strict=True):
            if verdict in LANDED:
                for mail in commit.mail:
                    if mail.created_ms:
                        self.mail_times.setdefault(mail.mail_id, mail.created_ms)
        return verdicts

    def commit(self, change: Change) -> Commit:
        if isinstance(change, Start):
            run = new_run(change.run, at=self.now_ms, run_id=change.run_id, claimed=change.claimed)
            first = entry(1, change.text) if change.text else None
            return Commit(workflow_uuid=change.run, fenced=False, start=self.placed(run), entry=first)
        if isinstance(change, Letter):
            mail = Mail(mail_id=change.mail_id, workflow_uuid=change.run, topic="t", message="1")
            return Commit(workflow_uuid=change.run, fenced=False, mail=(mail,))
        seen = 0 if change.seen is None else self.mail_times[change.seen]
        until = {NOW: self.now_ms - HOUR, LATER: self.now_ms + HOUR, NEVER: PARK_FOREVER, None: None}[change.park]
        return Commit(
            workflow_uuid=change.run,
            entry=None if change.position is None else entry(change.position, change.text),
            consumed=change.consume,
            close=None if change.close is None else close(change.close, at=self.now_ms, seen=seen),
            park_until_ms=until,
            mail_seen_ms=seen,
        )

    def placed(self, run: Any) -> Any:
        return replace(run, task_queue=self.queue)

    queue = ""


class StoreMachine(RuleBasedStateMachine):
    """The rules. ``worlds_of`` says which stores they are played on."""

    runner: ClassVar[asyncio.Runner]
    postgres: ClassVar[list[Store]] = []
    numbers = itertools.count(1)

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.prefix = uuid.uuid4().hex[:8]
        self.run_numbers = itertools.count(1)
        self.actors = [Actor(f"{self.prefix}-{number}") for number in range(PROCESSES)]
        memory = MemoryStore(SystemClock())
        connections: list[list[Store]] = [[memory.sibling() for _ in range(PROCESSES)]]
        if self.postgres:
            connections.append(self.postgres)
        self.worlds = [World(stores, self.run(stores[0].now_ms())) for stores in connections]
        for world in self.worlds:
            world.queue = self.prefix
            for number in range(PROCESSES):
                self.run(world.stores[number].register(self.info(number), HOUR))
        for name in IDS:
            self.start(0, name, True, AT_ONCE)

    def run(self, call: Any) -> Any:
        return self.runner.run(call)

    def info(self, number: int) -> ProcessInfo:
        return ProcessInfo(
            process_id=self.actors[number].id,
            identity="machine",
            application_version="v1",
            task_queues=(self.prefix,),
        )

    def everywhere(self, ask: Any, expected: Any) -> None:
        """Ask every store the same; all say what the oracle says."""
        for world in self.worlds:
            answer = self.run(ask(world))
            assert answer == expected, f"{type(world.stores[0]).__name__} says {answer}, the contract {expected}"

    def run_id(self) -> str:
        """One that no other example has, and that sorts as it did before: what Hypothesis draws from is a sorted list."""
        return str(uuid.UUID(f"{self.prefix}{next(self.run_numbers):024x}"))

    # -- what processes do -----------------------------------------------------------------------------------------

    @rule(number=processes, name=st.sampled_from(IDS), claimed=st.booleans(), sending=sendings)
    def start(self, number: int, name: str, claimed: bool, sending: str) -> None:
        uuid_ = f"{self.prefix}-{name}"
        actor = self.actors[number]
        if any(isinstance(change, Start) and change.run == uuid_ for change in actor.outbox):
            return
        n = next(self.numbers)
        text = f'"{actor.id} {n}"' if claimed else ""
        self.put(number, Start(run=uuid_, run_id=self.run_id(), text=text, claimed=claimed), sending)

    @rule(
        number=processes,
        name=st.sampled_from(IDS),
        claimed=st.booleans(),
        reuse=st.sampled_from(IdReuse),
        conflict=st.sampled_from(IdConflict),
    )
    def start_by_policy(self, number: int, name: str, claimed: bool, reuse: IdReuse, conflict: IdConflict) -> None:
        if reuse is IdReuse.TERMINATE_IF_RUNNING and conflict is IdConflict.USE_EXISTING:
            return  # contradicts itself; refused before it reaches a store
        uuid_, actor, run_id = f"{self.prefix}-{name}", self.actors[number], self.run_id()
        derived = f"{uuid_}~{run_id}"
        start = Start(run=uuid_, run_id=run_id, text="", claimed=claimed)
        result = self.model.start_by_policy(actor.id, start, derived, reuse, conflict)

        async def ask(world: World) -> tuple[StartResult, str]:
            run = replace(
                new_run(uuid_, at=world.now_ms, run_id=run_id, claimed=claimed, reuse=reuse, conflict=conflict),
                task_queue=self.prefix,
            )
            answer: StartAnswer = await world.stores[number].start_by_policy(actor.id, run, derived, '"ended"')
            return answer.result, answer.run.workflow_uuid

        current = self.model.current[uuid_]
        self.everywhere(ask, (result, current))
        if result is StartResult.STARTED and claimed:
            self.load(actor, current)

    @rule(
        data=st.data(),
        number=processes,
        kind=st.sampled_from(["go on", "go on", "go on", "park", "park", "close"]),
        looks=st.booleans(),
        sending=sendings,
    )
    def step(self, data: st.DataObject, number: int, kind: str, looks: bool, sending: str) -> None:
        """A process takes the next step of a run that it believes to own, perhaps wrongly."""
        if looks:
            self.look_at_mail(number)
        actor = self.actors[number]
        runs = sorted(run for run in actor.copies if not actor.busy_with(run))
        if not runs:
            return
        run = data.draw(st.sampled_from(runs), "run")
        copy = actor.copies[run]
        with_entry = kind == "go on" or data.draw(st.booleans(), "with an entry")
        waiting = [mail_id for mail_id in copy.known_mail if mail_id not in copy.consumed]
        consume = waiting[: data.draw(st.integers(0, len(waiting)), "consumed")] if with_entry else []
        behind = data.draw(st.sampled_from([0, 0, 0, 1, len(copy.known_mail)]), "newest mail not seen")
        step = Step(
            run=run,
            position=copy.next_position if with_entry else None,
            text=f'"{actor.id} {next(self.numbers)}"' if with_entry else "",
            consume=tuple(consume),
            seen=copy.known_mail[-1 - behind] if behind < len(copy.known_mail) else None,
            close=data.draw(st.sampled_from(CLOSINGS), "status") if kind == "close" else None,
            park=data.draw(st.sampled_from([NOW, LATER, NEVER]), "until") if kind == "park" else None,
        )
        self.put(number, step, sending)

    @rule(data=st.data(), number=processes, repeat=st.integers(0, 3), sending=sendings)
    def send(self, data: st.DataObject, number: int, repeat: int, sending: str) -> None:
        """Mail to some run; now and then a message that was sent before."""
        targets = [*sorted(self.model.runs), f"{self.prefix}-nobody"]
        run = data.draw(st.sampled_from(targets), "to")
        known = self.model.runs[run].mail if run in self.model.runs else []
        if repeat == 0 and known:
            mail_id = data.draw(st.sampled_from(known), "message")
        else:
            mail_id = f"{OWN_ID}{self.prefix}:{next(self.numbers)}"
        self.put(number, Letter(run=run, mail_id=mail_id), sending)

    def put(self, number: int, change: Change, sending: str) -> None:
        """Give a change to the process's writer."""
        self.actors[number].outbox.append(change)
        if sending == AT_ONCE:
            self.flush(number)
        elif sending != LATER_ON:
            self.flush_without_answer(number, sending == LANDED_BUT_LOST)

    def look_at_mail(self, number: int) -> None:
        actor = self.actors[number]
        for run, copy in actor.copies.items():
            if run in self.model.runs and not actor.busy_with(run):
                copy.known_mail = list(self.model.runs[run].mail)

    @rule(number=processes)
    def flush(self, number: int) -> None:
        """The writer has one flush under way at a time; what lost its answer is repeated first."""
        actor = self.actors[number]
        self.repeat(number)
        if actor.outbox:
            changes, actor.outbox = actor.outbox, []
            verdicts = self.apply(number, changes, again=False)
            self.told(actor, changes, verdicts)

    def flush_without_answer(self, number: int, landed: bool) -> None:
        """The connection goes away in the middle: applied or not, the process does not know."""
        actor = self.actors[number]
        if actor.unanswered is None and actor.outbox:
            actor.unanswered, actor.outbox = actor.outbox, []
            actor.landed = self.apply(number, actor.unanswered, again=False) if landed else None

    def repeat(self, number: int) -> None:
        actor = self.actors[number]
        if actor.unanswered is None:
            return
        # A repeat without an entry may be told either way, only its effect is fixed: tests/store/test_repeats.py.
        told = [not (isinstance(change, Step) and change.position is None) for change in actor.unanswered]
        changes = list(itertools.compress(actor.unanswered, told))
        landed = list(itertools.compress(actor.landed or [], told))
        actor.unanswered = actor.landed = None
        verdicts = self.apply(number, changes, again=True)
        for change, first, second in zip(changes, landed, verdicts, strict=False):
            if first is Verdict.COMMITTED:
                assert second in LANDED, f"{change} had landed, its repeat says {second}"
        self.told(actor, changes, verdicts)

    def apply(self, number: int, changes: list[Change], *, again: bool) -> list[Verdict]:
        actor = self.actors[number]
        verdicts = self.model.flush(actor.id, changes, again=again)
        self.everywhere(lambda world: world.flush(number, actor.id, changes, again=again), verdicts)
        return verdicts

    def told(self, actor: Actor, changes: list[Change], verdicts: list[Verdict]) -> None:
        for change, verdict in zip(changes, verdicts, strict=True):
            if isinstance(change, Start) and change.claimed and verdict is Verdict.COMMITTED:
                actor.copies[change.run] = Copy(2, [], set())
            elif isinstance(change, Step) and verdict is Verdict.COMMITTED:
                copy = actor.copies.get(change.run)
                if copy is not None and change.position is not None:
                    copy.next_position = change.position + 1
                    copy.consumed.update(change.consume)
            elif isinstance(change, Step) and verdict is Verdict.POSITION_LOST:
                actor.copies.pop(change.run, None)

    def load(self, actor: Actor, run: str) -> None:
        known = self.model.runs[run]
        actor.copies[run] = Copy(len(known.journal) + 1, list(known.mail), set(known.consumed))

    # -- who runs what -----------------------------------------------------------------------------------------------

    @rule(data=st.data(), number=processes, kind=st.sampled_from(["claim", "claim one", "beat", "take over"]))
    def look_for_work(self, data: st.DataObject, number: int, kind: str) -> None:
        if kind == "claim":
            self.claim(number)
        elif kind == "claim one":
            self.claim_one(number, data.draw(st.sampled_from(sorted(self.model.runs)), "run"))
        elif kind == "beat":
            self.beat(number)
        else:
            self.take_over(number)

    @rule(data=st.data(), number=processes, kind=st.sampled_from(["stall", "die", "release", "terminate"]))
    def misfortune(self, data: st.DataObject, number: int, kind: str) -> None:
        if kind == "stall":
            self.stall(number)
        elif kind == "die":
            self.die(number)
        elif kind == "release":
            self.release(number)
        else:
            run = data.draw(st.sampled_from(sorted(self.model.runs)), "run")
            self.terminate(number, run, data.draw(st.sampled_from([RunStatus.TERMINATED, RunStatus.TIMED_OUT])))

    def claim(self, number: int) -> None:
        actor = self.actors[number]
        claimed = self.model.claim(actor.id)

        async def ask(world: World) -> set[str]:
            return set(await world.stores[number].claim(actor.id, [self.prefix], 100))

        self.everywhere(ask, claimed)
        for run in claimed:
            self.load(actor, run)

    def claim_one(self, number: int, run: str) -> None:
        actor = self.actors[number]
        got = self.model.claim_one(actor.id, run)
        self.everywhere(lambda world: world.stores[number].claim_one(actor.id, run), got)
        if got:
            self.load(actor, run)

    def release(self, number: int) -> None:
        actor = self.actors[number]
        runs = sorted(self.model.runs)
        self.model.release(actor.id, runs)
        self.everywhere(lambda world: world.stores[number].release(actor.id, runs), None)

    def stall(self, number: int) -> None:
        """The process stands still for longer than its lease. Its copies and what it gathered survive."""
        self.model.lapsed.add(self.actors[number].id)
        for world in self.worlds:
            self.run(world.stores[number].register(self.info(number), -1_000))

    def beat(self, number: int) -> None:
        actor = self.actors[number]
        alive = actor.id not in self.model.lapsed
        self.model.lapsed.discard(actor.id)

        async def ask(world: World) -> tuple[bool, set[str], bool]:
            pulse = await world.stores[number].pulse(self.info(number), HOUR)
            ours = {process for process in pulse.lapsed if process.startswith(self.prefix)}
            return pulse.alive, ours, pulse.runnable

        runs = [run for run in self.model.runs.values() if run.open]
        lapsed = {run.owner for run in runs if run.owner in self.model.lapsed}
        lapsed |= self.model.telling & self.model.lapsed
        runnable = any(run.owner is None and run.due == NOW for run in runs)
        self.everywhere(ask, (alive, lapsed, runnable))

    def take_over(self, number: int) -> None:
        actor = self.actors[number]
        everybody = sorted({other.id for other in self.actors} | self.model.lapsed)
        taken = self.model.take_over(actor.id)

        async def ask(world: World) -> set[str]:
            return set(await world.stores[number].take_over(actor.id, everybody, [self.prefix], 100))

        self.everywhere(ask, taken)
        for run in taken:
            self.load(actor, run)

    def die(self, number: int) -> None:
        """The process is gone with all that it knew; a new one starts in its place."""
        self.model.lapsed.add(self.actors[number].id)
        for world in self.worlds:
            self.run(world.stores[number].register(self.info(number), -1_000))
        self.actors[number] = Actor(f"{self.prefix}-{next(self.numbers)}")
        for world in self.worlds:
            self.run(world.stores[number].register(self.info(number), HOUR))

    def terminate(self, number: int, run: str, status: RunStatus) -> None:
        verdict = self.model.terminate(run, status)
        self.everywhere(
            lambda world: world.stores[number].terminate(
                self.actors[number].id, run, close(status, at=world.now_ms, seen=None)
            ),
            verdict,
        )

    # -- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    @precondition(lambda self: hasattr(self, "worlds"))
    def every_store_holds_what_was_committed(self) -> None:
        runs = self.model.runs
        for world in self.worlds:
            loaded = {run.run.workflow_uuid: run for run in self.run(world.stores[0].load(sorted(runs)))}
            assert loaded.keys() == runs.keys()
            for name, run in loaded.items():
                expected: ModelRun = runs[name]
                assert (run.run.run_id, run.run.status) == (expected.run_id, expected.status)
                assert run.run.owner == expected.owner
                assert [one.position for one in run.entries] == list(range(1, len(expected.journal) + 1))
                assert [one.record for one in run.entries] == expected.journal
                assert [mail.mail_id for mail in run.mail] == expected.waiting
                if not expected.open:
                    assert world.closed.setdefault(name, run) == run, "a closed run changed"

    @invariant()
    @precondition(lambda self: hasattr(self, "worlds"))
    def an_id_has_one_current_run_and_no_other_open_one(self) -> None:
        for workflow_id, current in self.model.current.items():
            still_open = [name for name, run in self.model.runs.items() if run.workflow_id == workflow_id and run.open]
            assert still_open in ([], [current])
            for world in self.worlds:
                row = self.run(world.stores[0].find(workflow_id, None))
                assert row is not None
                assert row.workflow_uuid == current


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        StoreMachine.runner = runner
        yield runner


def explore(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def on_postgres(runner: asyncio.Runner, postgres_server: PostgresServer) -> Iterator[None]:
    from dbos_core.store.postgres.store import PostgresStore

    url = postgres_server.create_database()
    stores = [PostgresStore(url, pool_max=2) for _ in range(PROCESSES)]
    for store in stores:
        runner.run(store.open())
    StoreMachine.postgres = list(stores)
    yield
    StoreMachine.postgres = []
    for store in stores:
        runner.run(store.close())
    postgres_server.drop_database(url)


@pytest.mark.timeout(300)  # shrinking a failure takes its time
@pytest.mark.usefixtures("runner")
def test_the_memory_store_keeps_the_contract():
    explore(examples=300, steps=40)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("on_postgres")
def test_postgres_keeps_the_contract_and_answers_as_the_memory_store():
    explore(examples=15, steps=30)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.usefixtures("runner")
def test_the_memory_store_keeps_the_contract_for_long():
    explore(examples=5_000, steps=60)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.usefixtures("on_postgres")
def test_postgres_keeps_the_contract_for_long():
    explore(examples=500, steps=60)
