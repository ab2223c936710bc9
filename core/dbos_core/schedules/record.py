"""The JSON text of a schedule, as it is stored: readable in psql, written and read here alone."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dbos_core.commit import RunStatus
from dbos_core.schedules.calendar import FIELDS, Calendar, Range
from dbos_core.schedules.policy import Overlap
from dbos_core.schedules.spec import Spec
from dbos_core.schedules.state import Action, Backfill, Definition, Policies, Schedule, Start
from dbos_core.schedules.text import Interval

VERSION = 1


def text(schedule: Schedule) -> str:
    values = {
        "v": VERSION,
        "uid": schedule.uid,
        "definition": _definition(schedule.definition),
        "created_ms": schedule.created_ms,
        "processed_ms": schedule.processed_ms,
        "updated_ms": schedule.updated_ms,
        "token": schedule.token,
        "triggers": schedule.triggers,
        "actions": schedule.actions,
        "missed": schedule.missed,
        "skipped": schedule.skipped,
        "dropped": schedule.dropped,
        "invalid": schedule.invalid,
        "waiting": [asdict(start) for start in schedule.waiting],
        "starting": [asdict(start) for start in schedule.starting],
        "running": [asdict(action) for action in schedule.running],
        "recent": [asdict(action) for action in schedule.recent],
        "backfills": [asdict(backfill) for backfill in schedule.backfills],
        "requests": schedule.requests,
        "last_result": schedule.last_result,
        "last_failure": schedule.last_failure,
    }
    return json.dumps(values, separators=(",", ":"))


def schedule(schedule_id: str, record: str) -> Schedule:
    values: dict[str, Any] = json.loads(record)
    if values.pop("v") != VERSION:
        raise ValueError(f"schedule {schedule_id!r} was written by a newer release of dbos-compat")
    values["definition"] = _read_definition(values["definition"])
    for name in ("waiting", "starting"):
        values[name] = [Start(**{**item, "overlap": Overlap(item["overlap"])}) for item in values[name]]
    for name in ("running", "recent"):
        values[name] = [Action(**{**item, "status": RunStatus(item["status"])}) for item in values[name]]
    values["backfills"] = [Backfill(**{**item, "overlap": Overlap(item["overlap"])}) for item in values["backfills"]]
    return Schedule(schedule_id=schedule_id, **values)


def _definition(definition: Definition) -> dict[str, Any]:
    return {
        "spec": _spec(definition.spec),
        "policies": asdict(definition.policies),
        "action": definition.action,
        "workflow_id": definition.workflow_id,
        "paused": definition.paused,
        "notes": definition.notes,
        "limited": definition.limited,
        "remaining": definition.remaining,
    }


def _read_definition(values: dict[str, Any]) -> Definition:
    policies = values.pop("policies")
    policies["overlap"] = Overlap(policies["overlap"])
    spec = _read_spec(values.pop("spec"))
    return Definition(spec=spec, policies=Policies(**policies), **values)


def _spec(spec: Spec) -> dict[str, Any]:
    return {
        "calendars": [_calendar(calendar) for calendar in spec.calendars],
        "intervals": [[interval.every_us, interval.phase_us] for interval in spec.intervals],
        "excluded": [_calendar(calendar) for calendar in spec.excluded],
        "start_us": spec.start_us,
        "end_us": spec.end_us,
        "jitter_us": spec.jitter_us,
        "zone": spec.zone,
        "zone_data": None if spec.zone_data is None else b64encode(spec.zone_data).decode(),
    }


def _read_spec(values: dict[str, Any]) -> Spec:
    return Spec(
        calendars=tuple(_read_calendar(item) for item in values["calendars"]),
        intervals=tuple(Interval(every, phase) for every, phase in values["intervals"]),
        excluded=tuple(_read_calendar(item) for item in values["excluded"]),
        start_us=values["start_us"],
        end_us=values["end_us"],
        jitter_us=values["jitter_us"],
        zone=values["zone"],
        zone_data=None if values["zone_data"] is None else b64decode(values["zone_data"]),
    )


def _calendar(calendar: Calendar) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: [[item.start, item.end, item.step] for item in getattr(calendar, name)]
        for name, *_ in FIELDS
        if getattr(calendar, name)
    }
    if calendar.comment:
        values["comment"] = calendar.comment
    return values


def _read_calendar(values: dict[str, Any]) -> Calendar:
    comment: str = values.pop("comment", "")
    return Calendar(**{name: _ranges(items) for name, items in values.items()}, comment=comment)


def _ranges(items: Sequence[Sequence[int]]) -> tuple[Range, ...]:
    return tuple(Range(start, end, step) for start, end, step in items)
