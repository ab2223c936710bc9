"""Questions: what one process asks another about a run (queries, activity completion by id, what is pending).

A process that owns the run, or may take it, answers by itself. Otherwise the question is a row of ``requests`` and a
notification; one process takes it, writes the response and notifies the asker. Nothing here touches a journal.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from dbos_core.commit import RunRow, RunStatus
from dbos_core.errors import StoreUnavailable
from dbos_core.failing import REFUSE_FROM, DoesNotFit, TaskKeepsFailing
from dbos_core.runner import Decision
from dbos_core.store.base import RequestRow

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

QUERY = "query"
TAKE_MAX = 50
_LOOK_AGAIN_S = 0.02
"""A run that is on its way between processes arrives soon; nobody says when."""

Answerer = Callable[[RunRow, str], Awaitable[str]]
"""(run, payload) → response, in the process that owns the run."""


class QuestionFailed(Exception):
    """The run's owner could not answer; the message says why."""


class RunFailing(QuestionFailed):
    """The run's activations keep failing: it cannot be brought to its present state. The message is the failure's."""


class _Moved(Exception):
    """The run is on its way between processes: whoever asks asks again."""


class Questions:
    """Both sides of asking, for one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._answerers: dict[str, Answerer] = {}
        self._taking = False
        self._again = False
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Closed runs that are asked: who asks or waits for a turn keeps the lock alive."""

    def register(self, kind: str, answerer: Answerer) -> None:
        """Say how this process answers questions of a kind about runs that live here."""
        self._answerers[kind] = answerer

    # -- asking ----------------------------------------------------------------------------------------------------

    async def query(self, run: RunRow, payload: str, timeout_s: float) -> str:
        """Ask the interpreter of a run, open or closed.

        Raises:
            TimeoutError: nobody answered within ``timeout_s``.
            RunFailing: its activations fail.
            QuestionFailed: the run cannot be brought to its last state (its replay fails), and is not tried again.
        """
        kernel = self._kernel
        if run.workflow_uuid in kernel.live_runs or kernel.serves(run.task_queue):
            async with asyncio.timeout(timeout_s):
                answer = await self._query_here(run, payload)
            if answer is not None:
                return answer
        elif run.owner is None and run.status is RunStatus.RUNNING and run.task_attempt >= REFUSE_FROM:
            raise RunFailing("No worker has taken it up since.")
        return await self._ask(run, QUERY, payload, timeout_s)

    async def request(self, run: RunRow, kind: str, payload: str, timeout_s: float) -> str:
        """Ask the owner of an open run. Raises TimeoutError, QuestionFailed."""
        if await self._lives_here(run):
            return await self._answerers[kind](run, payload)
        return await self._ask(run, kind, payload, timeout_s)

    async def ask_owner(self, run: RunRow, kind: str, payload: str, timeout_s: float) -> str:
        """Ask the process that owns an open run, which is another one; the run is not taken up for the answer.

        Raises:
            TimeoutError: nobody answered within ``timeout_s``.
            QuestionFailed: the owner cannot answer, perhaps since it is of an older release.
        """
        return await self._ask(run, kind, payload, timeout_s)

    async def _lives_here(self, run: RunRow) -> bool:
        """True when the run lives here, perhaps since we could claim it."""
        kernel = self._kernel
        uuid = run.workflow_uuid
        if uuid in kernel.live_runs:
            return True
        if not kernel.serves(run.task_queue) or run.status is not RunStatus.RUNNING:
            return False
        await kernel.claims.registered()
        with kernel.claims.doubting():
            claimed = await kernel.store.claim_one(kernel.process_id, uuid)
            # Ours already, when the claiming loop was quicker and is still loading it.
            if claimed or any(row.owner == kernel.process_id for row in await kernel.store.rows([uuid], watch=False)):
                await kernel.claims.adopt([uuid])
        return uuid in kernel.live_runs

    async def _query_here(self, run: RunRow, payload: str) -> str | None:
        """The answer if this process can give it; None: the run is owned elsewhere."""
        kernel = self._kernel
        if run.status is RunStatus.RUNNING and not await self._lives_here(run):
            rows = await kernel.store.rows([run.workflow_uuid], watch=False)
            if not rows or rows[0].status is RunStatus.RUNNING:
                return None
            run = rows[0]
        if run.status is not RunStatus.RUNNING:
            return await self._query_closed(run, payload)
        live = kernel.live_runs.get(run.workflow_uuid)
        answer = None
        if live is not None:
            try:
                # What was acknowledged before the question was asked is part of the answer, whoever sent it.
                live.deliver_mail(await kernel.store.mail([run.workflow_uuid]))
                answer = await live.query(payload)
            except TaskKeepsFailing as error:
                raise RunFailing(str(error)) from error
            except DoesNotFit as error:
                raise QuestionFailed(str(error)) from error
        if answer is None:  # it left this process meanwhile: closed, parked or taken over
            await asyncio.sleep(_LOOK_AGAIN_S)
            rows = await kernel.store.rows([run.workflow_uuid], watch=False)
            return await self._query_here(rows[0], payload) if rows else None
        return answer

    async def _query_closed(self, run: RunRow, payload: str) -> str:
        """Rebuild a closed run for one question, releasing nothing; one question at a time, as with a live run."""
        turn = self._turns.get(run.workflow_uuid)
        if turn is None:
            turn = self._turns[run.workflow_uuid] = asyncio.Lock()
        async with turn:
            return await self._rebuild_and_query(run, payload)

    async def _rebuild_and_query(self, run: RunRow, payload: str) -> str:
        kernel = self._kernel
        runner = kernel.runner_for(run.task_queue, run.workflow_type)
        loaded = await kernel.load(run.workflow_uuid)
        if runner is None or loaded is None:
            raise QuestionFailed(f"run {run.run_id} of workflow {run.workflow_id!r} was deleted")
        interpreter = runner.open(loaded.run, loaded.inputs)
        try:
            for entry in loaded.entries:
                decision = interpreter.replay(entry)
                if not isinstance(decision, Decision):
                    decision = await decision
                if decision.failure is not None:
                    raise QuestionFailed(decision.failure.message)
            return await interpreter.query(payload)
        finally:
            kernel.tear_down(interpreter)

    async def _ask(self, run: RunRow, kind: str, payload: str, timeout_s: float) -> str:
        kernel = self._kernel
        request_id = kernel.entropy.uuid()
        now_ms = await kernel.store.now_ms()
        await kernel.store.ask(
            RequestRow(
                request_id=request_id,
                workflow_uuid=run.workflow_uuid,
                task_queue=run.task_queue,
                kind=kind,
                payload=payload,
                deadline_ms=now_ms + int(timeout_s * 1000),
            )
        )
        deadline = kernel.loop.time() + timeout_s
        while True:
            with kernel.waiting.answer_comes(request_id) as answered:
                response = await kernel.store.response(request_id)
                remaining = deadline - kernel.loop.time()
                if response is None:
                    if remaining <= 0:
                        raise TimeoutError(f"no worker answered about run {run.run_id} of workflow {run.workflow_id!r}")
                    await kernel.waiting.hear(answered, remaining)
                    continue
            try:
                return _unwrap(response)
            except _Moved:
                await asyncio.sleep(_LOOK_AGAIN_S)
                return await self._ask(run, kind, payload, max(0.0, remaining))

    # -- answering -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Some request may be there for us."""
        self._again = True
        if not self._taking and not self._kernel.closing:
            self._taking = True
            self._kernel.spawn(self._take(), "requests")

    async def _take(self) -> None:
        kernel = self._kernel
        try:
            while self._again:
                self._again = False
                requests = await kernel.store.take_requests(kernel.process_id, kernel.queues, TAKE_MAX)
                for request in requests:
                    kernel.spawn(self._answer(request), f"answer {request.kind}")
                if len(requests) == TAKE_MAX:
                    self._again = True
        except StoreUnavailable:
            logger.debug("requests are looked for again with the next pulse")
        finally:
            self._taking = False

    async def _answer(self, request: RequestRow) -> None:
        kernel = self._kernel
        try:
            rows = await kernel.store.rows([request.workflow_uuid], watch=False)
            if not rows:
                raise QuestionFailed(f"run {request.workflow_uuid} does not exist")
            if request.kind == QUERY:
                answer = await self._query_here(rows[0], request.payload)
                if answer is None:
                    raise _Moved
            elif not await self._lives_here(rows[0]):
                raise _Moved
            else:
                answer = await self._answerers[request.kind](rows[0], request.payload)
            response = json.dumps({"ok": answer})
        except _Moved:
            response = json.dumps({"moved": True})
        except RunFailing as error:
            response = json.dumps({"failing": str(error)})
        except Exception as error:
            response = json.dumps({"failed": str(error)})
        await kernel.store.answer(request.request_id, response)


def _unwrap(response: str) -> str:
    decoded = json.loads(response)
    if "moved" in decoded:
        raise _Moved
    if "failing" in decoded:
        raise RunFailing(decoded["failing"])
    if "failed" in decoded:
        raise QuestionFailed(decoded["failed"])
    answer: str = decoded["ok"]
    return answer
