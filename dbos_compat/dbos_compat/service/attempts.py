"""How the open activities of a run stand: what its owner knows, here or in another process, and else what the rows say.

An attempt that starts leaves no row unless it is bounded, has failed before or sends heartbeats; only the owner knows
of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from dbos_compat.convert.payloads import dumps
from dbos_compat.service.common import Context
from dbos_compat.service.pending import Standing, open_activities
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.spec import ASYNC_WORKER, ActivityRow
from dbos_core.commit import LoadedRun, RunRow, RunStatus
from dbos_core.questions import QuestionFailed

PENDING = "activity.pending"
ASK_S = 1.0
"""How long the owner of a run may take to answer; then what the store knows must do."""

_FIELDS = frozenset(field.name for field in fields(Standing))


def register(context: Context) -> None:
    """Let this process answer about the runs that live here."""

    async def pending(run: RunRow, _: str) -> str:
        return dumps({seq: asdict(standing) for seq, standing in _known_here(context, run).items()})

    context.kernel.questions.register(PENDING, pending)


async def looked_at(context: Context, loaded: LoadedRun) -> tuple[LoadedRun, dict[int, Standing]]:
    """How its open activities stand, by seq, and the run at that time. Its owner is asked if that is another process
    that is alive; nothing is asked about a run without open activities."""
    run = loaded.run
    if run.status is not RunStatus.RUNNING:
        return loaded, {}
    if run.owner is None or run.owner == context.kernel.process_id:
        from_owner = _known_here(context, run)
    else:
        from_owner = await _asked(context, run, run.owner) if open_activities(loaded) else {}
        again = await context.kernel.load(run.workflow_uuid) if from_owner else None
        if again is not None:  # not older than the answer, so that what has ended meanwhile is not shown
            loaded = again
    rows = {row.seq: row for row in loaded.activities}
    merged = {seq: _merged(from_owner.get(seq), rows.get(seq)) for seq in from_owner.keys() | rows.keys()}
    standings = {seq: standing for seq, standing in merged.items() if standing is not None}
    names = await _identities(context, standings.values())
    return loaded, {seq: _named(standing, names) for seq, standing in standings.items()}


def _known_here(context: Context, run: RunRow) -> dict[int, Standing]:
    service = context.kernel.activities
    return {
        machine.spec.seq: _of_machine(machine, service.worker_of(machine))
        for machine in service.pending(run.workflow_uuid)
    }


async def _asked(context: Context, run: RunRow, owner: str) -> dict[int, Standing]:
    """What the owner says; nothing if it is dead, does not answer, or is of a release that cannot."""
    known = (await context.kernel.store.known_processes([owner])).get(owner)
    if known is None or not known.alive:
        return {}
    try:
        answer: dict[str, dict[str, Any]] = json.loads(
            await context.kernel.questions.ask_owner(run, PENDING, "", ASK_S)
        )
        return {int(seq): _read(said) for seq, said in answer.items()}
    except (TimeoutError, QuestionFailed, ValueError, TypeError):
        return {}


def _read(said: Mapping[str, Any]) -> Standing:
    """What newer releases say beside what we know is left out."""
    return Standing(**{name: value for name, value in said.items() if name in _FIELDS})


def _of_machine(machine: ActivityMachine, worker: str) -> Standing:
    known = None if worker else machine.ran_in or None
    return replace(_standing(machine), worker=worker, process=known, from_owner=True)


def _of_row(row: ActivityRow) -> Standing:
    return replace(_standing(row), process=None if row.worker == ASYNC_WORKER else row.worker)


def _standing(of: ActivityMachine | ActivityRow) -> Standing:
    """What both say by the same names."""
    return Standing(
        attempt=of.attempt,
        due_ms=of.due_ms,
        started_ms=of.started_ms,
        heartbeat=of.heartbeat,
        heartbeat_at_ms=of.heartbeat_at_ms,
        last_failure=of.last_failure,
        cancel_requested=of.cancel_requested,
        ended_ms=of.ended_ms,
        operator=of.operator,
    )


def _merged(standing: Standing | None, row: ActivityRow | None) -> Standing | None:
    """An owner that has offered an attempt hears of whoever has taken it only when that ends: it is in the row."""
    if standing is None or row is None:
        return standing if row is None else _of_row(row)
    if standing.started_ms is not None or not row.offered or row.worker is None or row.attempt != standing.attempt:
        return standing
    taken = _of_row(row)
    return replace(
        standing,
        started_ms=taken.started_ms,
        heartbeat=taken.heartbeat,
        heartbeat_at_ms=taken.heartbeat_at_ms,
        worker="",
        process=taken.process,
    )


async def _identities(context: Context, standings: Iterable[Standing]) -> dict[str, str]:
    """Of the processes whose workers are known by nothing else."""
    wanted = {standing.process for standing in standings if standing.process is not None and not standing.worker}
    if not wanted:
        return {}
    known = await context.kernel.store.known_processes(sorted(wanted))
    return {process_id: process.identity for process_id, process in known.items()}


def _named(standing: Standing, names: Mapping[str, str]) -> Standing:
    if standing.worker or standing.process is None:
        return standing
    return replace(standing, worker=names.get(standing.process, ""))
