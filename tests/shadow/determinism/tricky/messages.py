"""Messages: handlers that wait for each other, drained mailboxes, handlers without a name, words to oneself."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from dbos_shadow.determinism import Message, Plan, may_fail, plan, sends

MINUTE = timedelta(minutes=1)


@activity.defn
async def store(text: str) -> str:
    return text


async def stored(text: str) -> str:
    return await workflow.execute_activity(
        store, text, start_to_close_timeout=MINUTE, retry_policy=RetryPolicy(maximum_attempts=2)
    )


@workflow.defn
class LockedLedger:
    """Updates take turns by a lock; the end waits for those that are under way, cancelled or not."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.entries: list[str] = []
        self.closed = False

    @workflow.update
    async def book(self, entry: str) -> int:
        async with self.lock:
            before = len(self.entries)
            try:
                await stored(entry)
            except ActivityError as error:
                raise ApplicationError("not booked", type="NotBooked") from error
            self.entries.append(entry)
            assert len(self.entries) == before + 1
            return len(self.entries)

    @book.validator
    def _check(self, entry: str) -> None:
        if self.closed or entry == "":
            raise ValueError("closed" if self.closed else "empty")

    @workflow.signal
    async def close(self) -> None:
        async with self.lock:
            self.closed = True

    @workflow.query
    def count(self) -> int:
        return len(self.entries)

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await workflow.wait_condition(lambda: self.closed, timeout=timedelta(hours=2))
        except TimeoutError:
            self.closed = True
        finally:
            self.closed = True
            await workflow.wait_condition(workflow.all_handlers_finished)
        return self.entries


@dataclass
class Backlog:
    rounds: int = 0
    waiting: list[str] = field(default_factory=list)


@workflow.defn
class Drained:
    """Continues as new with what it has not got round to; the last round takes all there is."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()

    @workflow.signal
    def add(self, text: str) -> None:
        self.waiting.append(text)

    @workflow.run
    async def run(self, backlog: Backlog) -> int:
        self.waiting.extendleft(reversed(backlog.waiting))
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: bool(self.waiting), timeout=30)
        if self.waiting:
            try:
                await stored(self.waiting.popleft())
            except ActivityError as error:
                raise ApplicationError("lost one", type="Lost") from error
        await workflow.wait_condition(workflow.all_handlers_finished)
        if backlog.rounds < 2 or self.waiting:
            workflow.continue_as_new(Backlog(backlog.rounds + 1, list(self.waiting)))
        return backlog.rounds


@workflow.defn
class Switchboard:
    """Has handlers for whatever comes, and gets one by name while it runs."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.signal(dynamic=True)
    async def any_signal(self, name: str, args: Sequence[RawValue]) -> None:
        words = [workflow.payload_converter().from_payload(arg.payload, str) for arg in args]
        self.heard.append(f"{name} {words}")

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, args: Sequence[RawValue]) -> str:
        self.heard.append(name)
        await workflow.sleep(5)
        return f"{name} {len(args)}"

    @workflow.query(dynamic=True)
    def any_query(self, name: str, args: Sequence[RawValue]) -> int:
        return len(self.heard)

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.sleep(10)
        workflow.set_signal_handler("late", lambda word: self.heard.append(f"late {word}"))
        try:
            await stored("x")
        except ActivityError:
            self.heard.append("failed")
        await workflow.sleep(10)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.heard


@workflow.defn
class ToOneself:
    """Signals workflows outside: itself (which no server carries), and one that is not there."""

    def __init__(self) -> None:
        self.heard = 0

    @workflow.signal
    def hear(self) -> None:
        self.heard += 1

    @workflow.run
    async def run(self) -> list[str]:
        ends: list[str] = []
        for workflow_id in (workflow.info().workflow_id, "nobody"):
            try:
                await workflow.get_external_workflow_handle(workflow_id).signal("hear")
                ends.append("sent")
            except ApplicationError as error:
                ends.append(str(error.type))
            try:
                await workflow.get_external_workflow_handle("nobody").cancel()
            except ApplicationError as error:
                ends.append(str(error.type))
        return ends


class OutOfStock(Exception):
    """Not one of Temporal's."""


@workflow.defn(failure_exception_types=[OutOfStock])
class OwnErrors:
    """Its own errors are failures, with details, in updates too."""

    def __init__(self) -> None:
        self.asked = 0

    @workflow.update
    async def ask(self, number: int) -> int:
        self.asked += 1
        await workflow.sleep(1)
        if number < 0:
            raise OutOfStock(f"{number}")
        return number

    @workflow.run
    async def run(self) -> str:
        try:
            answer = await stored("stock")
        except ActivityError as error:
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise OutOfStock("none") from error
        await workflow.sleep(20)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self.asked > 1:
            raise ApplicationError(
                "too many questions", {"asked": self.asked}, answer, type="Asked", non_retryable=True
            )
        return answer


STORE = {store: may_fail(ApplicationError("full", {"left": 0}, type="Full"), value="ok")}
PLANS: dict[str, Plan] = {
    "locked ledger": plan(
        LockedLedger.run, activities=STORE, signals=[LockedLedger.close],
        updates=[sends(LockedLedger.book, "a", at_most=3)], queries=[LockedLedger.count], must_end=True, sandboxed=False,
    ),
    "drained": plan(
        Drained.run, args=[Backlog()], activities=STORE, signals=[sends(Drained.add, "a", at_most=4)], must_end=True,
        sandboxed=False,
    ),
    "switchboard": plan(
        Switchboard.run, activities=STORE, signals=[Message("signal", "tell", ("x",)), Message("signal", "late", ("y",))],
        updates=[Message("update", "change", (1,))], queries=[Message("query", "how many")], must_end=True,
        sandboxed=False,
    ),
    "to oneself": plan(ToOneself.run, signals=[ToOneself.hear], must_end=True, sandboxed=False),
    "own errors": plan(OwnErrors.run, activities=STORE, updates=[OwnErrors.ask], must_end=True, sandboxed=False),
}  # fmt: skip
