"""Flush, the SQL: the parts of the one writing statement of the group commit, and how they are put together.

The statement first decides and then writes:

* ``st`` are the starts whose id is free, ``f`` the fenced commits of runs that this process owns, each with a ``code``
  (0: goes through, 1: its position is taken, 2: mail waits). ``f`` locks what it judges, so that the owner, and for a
  closing or parking run the time of its newest mail, are the latest committed ones.
* Everything else writes what ``st`` and ``f`` let through, unconditionally. A row that the snapshot did not show yet
  breaks a key, nothing is written, and the caller runs the statement again, which then sees that row.

Every part walks its rows once and probes other tables by key: no part joins two lists, so cost grows with the number of
commits and not with its square. Lists inside a commit (mail ids, activities ...) travel as JSON for the same reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from dbos_core.store.postgres.flush_shape import FENCED_COLUMNS, START_COLUMNS, Shape, used

S = Shape

_CLOCK = "clock as materialized (select {own}.now_ms() as ms)"

# Scalar subqueries where `exists` would read better: they are probes by key; an `exists` may be planned as a join, or as
# a hash of the whole table.
_ST = """
st as materialized (
    select s.* from /*rows*/ as s (/*columns*/)
     where (select 1 from {dbos}.workflow_status w where w.workflow_uuid = s.uuid) is null
       and (select 1 from {own}.runs r where r.workflow_id = s.workflow_id and r.is_current) is null/*child:open*/)"""

# A child of a closed parent must not begin (2: ABANDON, may). The lock makes the parent's close wait for it or it for
# that, so that whoever applies the closed parent's policy finds every child there is.
_ST_CHILD = """
       and (s.parent_run_id is null or s.parent_policy = 2 or (
                select 1 from {own}.runs p
                 where p.workflow_uuid = s.parent and p.status is not distinct from 1 for share) is not null)"""

# Written for starts (``st``) and for successors (``next``).
_NEW_STATUS = """
/*set*/_status as (
    insert into {dbos}.workflow_status (
        workflow_uuid, status, name, executor_id, created_at, updated_at, application_version, recovery_attempts,
        queue_name, started_at_epoch_ms, owner_xid, parent_workflow_id, serialization, delay_until_epoch_ms,
        completed_at, attributes, application_name, creator_xid)
    select uuid,
           /*closed:status*/case when claimed then 'PENDING'
                when execution_ms > (select ms from clock) then 'DELAYED' else 'ENQUEUED' end,
           workflow_type, $process, start_ms, start_ms, $version, case when claimed then 1 else 0 end,
           task_queue, case when claimed then start_ms end,
           /*closed:owner*/case when claimed then $process end,
           /*child:parent*/null, 'portable_json', case when execution_ms > start_ms then execution_ms end,
           /*closed:completed*/null,
           /*closed:attributes*/search_attributes::jsonb,
           $application, creator
      from /*set*/)"""

_NEW_INPUT = """
/*set*/_input as (
    insert into {dbos}.workflow_input (workflow_uuid, inputs) select uuid, inputs from /*set*/)"""

_NEW_RUNS = """
/*set*/_runs as (
    insert into {own}.runs (
        workflow_uuid, workflow_id, run_id, first_run_id, workflow_type, task_queue, owner, wake_at_ms, last_mail_ms,
        request_id, start_ms, execution_ms, deadline_ms, memo, search_attributes, metadata
        /*child:names*//*closed:names*/)
    select uuid, workflow_id, run_id, first_run_id, workflow_type, task_queue,
           /*closed:owner*/case when claimed then $process end,
           /*closed:wake*/case when not claimed then execution_ms end,
           /*mail:last*/0,
           request_id, start_ms, execution_ms, deadline_ms, memo, search_attributes::jsonb, metadata
           /*child:values*//*closed:values*/
      from /*set*/
    returning task_queue, owner, wake_at_ms, status)"""

_CHILD_NAMES = "parent_workflow_id, parent_run_id, parent_seq, parent_policy, root_workflow_id, root_run_id"


def _of_children(text: str) -> str:
    """The part of ``_NEW_STATUS`` or ``_NEW_RUNS`` for a set of runs among which are children."""
    text = text.replace("/*child:parent*/null", "parent")
    text = text.replace("/*child:names*/", f", parent_workflow_uuid, {_CHILD_NAMES}")
    return text.replace("/*child:values*/", f", parent, {_CHILD_NAMES}")


_ST_MAIL = """
st_mail as (
    insert into {dbos}.notifications (
        message_uuid, destination_uuid, topic, message, created_at_epoch_ms, serialization, consumed,
        consumed_by_function_id)
    select m.id, st.uuid, m.topic, m.message, (select ms from clock) + m.ord, m.serialization, m.consumed, m.position
      from st, json_to_recordset(st.mail::json)
               as m (ord int, id text, topic text, message text, serialization text, consumed boolean, position int)
    on conflict (message_uuid) do nothing
    returning message_uuid, created_at_epoch_ms)"""

# Which index finds a row must not hang on statistics: it is the primary key, probed once per commit. Hence the lateral,
# and `is not distinct from`, by which no partial index on the status seems to fit. The rows come sorted by uuid, which
# is everybody's order of locks.
_F = """
f as materialized (
    select c.*, /*next:current*/case /*position*/ /*mail*/ else 0 end as code
      from /*rows*/ as c (/*columns*/),
           lateral (
                select /*last_mail*/ from {dbos}.workflow_status w /*join*/
                 where w.workflow_uuid = c.uuid and w.owner_xid = $process
                   and w.status is not distinct from 'PENDING'
                   for no key update of w/*lock*/) as r)"""

_F_POSITION = """when c.position is not null and (
                    select o.function_id from {dbos}.operation_outputs o
                     where o.workflow_uuid = c.uuid and o.function_id = c.position) is not null then 1"""

# A stock tool's message may be older than what the run knows, and is news all the same: its time is not ours.
# The last line: `r` is the locked, newest row, `seen` the snapshot's. They differ when mail came in between.
_F_MAIL = """when c.mail_seen is not null and (
                    (select 1 from {dbos}.notifications n
                      where n.destination_uuid = c.uuid and not n.consumed
                        and (n.created_at_epoch_ms > c.mail_seen
                             or left(n.message_uuid, 4) <> 'dc1:'
                                and (c.mail_known::jsonb ? n.message_uuid) is not true)
                      limit 1) is not null
                    or r.last_mail_ms <> (select seen.last_mail_ms from {own}.runs seen
                                           where seen.workflow_uuid = c.uuid)) then 2"""

_ENTRIES = """
entries as (
    insert into {dbos}.operation_outputs (
        workflow_uuid, function_id, function_name, output, started_at_epoch_ms, completed_at_epoch_ms, serialization,
        application_name)
    /*from*/)"""
_ENTRIES_OF_F = """select uuid, position, entry_name, entry, entry_started, entry_completed, 'portable_json', $application
      from f where code = 0 and entry is not null"""
_ENTRIES_OF_ST = """select uuid, position, entry_name, entry, entry_started, entry_completed, 'portable_json',
           $application
      from st where entry is not null"""

_STATUSES = """
statuses as (
    update {dbos}.workflow_status w
       set status = coalesce(f.dbos_status, w.status),
           owner_xid = case when f.lets_go then null else w.owner_xid end,
           deduplication_id = case when f.status is null then w.deduplication_id end,
           completed_at = coalesce(f.close_ms, w.completed_at),
           updated_at = (select ms from clock),
           attributes = case when f.finer is null then coalesce(f.search_attributes::jsonb, w.attributes)
                             else coalesce(f.search_attributes::jsonb, w.attributes, '{}')
                                  || jsonb_build_object('dbos_compat.status', f.finer) end
      from f
     where f.code = 0 and (f.lets_go or f.search_attributes is not null) and w.workflow_uuid = f.uuid)"""

_RUNS = """
run_rows as (
    update {own}.runs r
       set status = coalesce(f.status, r.status),
           owner = case when f.lets_go then null else r.owner end,
           wake_at_ms = case when f.lets_go then f.wake_at else r.wake_at_ms end,
           close_ms = coalesce(f.close_ms, r.close_ms),
           close = coalesce(f.close, r.close),
           history_length = coalesce(f.history_length, r.history_length),
           memo = coalesce(f.memo, r.memo),
           search_attributes = coalesce(f.search_attributes::jsonb, r.search_attributes)/*next:set*/
      from f
     where f.code = 0 and f.touches and r.workflow_uuid = f.uuid
    returning r.workflow_uuid, r.watched, r.status, r.owner, r.task_queue, r.wake_at_ms/*next:returning*/)"""

# The runs that follow runs which end here. They are read from what the ending has returned, so that the place of the
# current run is free when they take it. One whose predecessor was not the current run is not current either.
_NEXT = """
next as materialized (
    select n.*, x.current from (/*from*/) as x (next, current), json_to_record(x.next::json) as n (/*fields*/))"""
NEXT_OF_F = "select next, current from run_rows where next is not null"
_NEXT_OF_ST = "select next, true from st where next is not null"

_OUTPUTS = """
outputs as (
    insert into {dbos}.workflow_output (workflow_uuid, output, error)
    /*from*/
    on conflict (workflow_uuid) do update set output = excluded.output, error = excluded.error)"""
_OUTPUTS_OF_F = "select uuid, output, error from f where code = 0 and (output is not null or error is not null)"
_OUTPUTS_OF_ST = "select uuid, output, error from st where output is not null or error is not null"

_OUTBOX = """
outbox_rows as (
    insert into {own}.outbox (workflow_uuid, process_id)
    /*from*/
    on conflict (workflow_uuid) do nothing)"""
_OUTBOX_OF_F = "select uuid, $process::text from f where code = 0 and reaches"
_OUTBOX_OF_ST = "select uuid, $process::text from st where reaches"

_SETTLED = """
settled as (
    delete from {own}.outbox o using unnest($settled::text[], $settled_by::text[]) as d (uuid, box)
     where o.workflow_uuid = d.uuid and (d.box is null/*mail:box*/))"""

_CONSUMED = """
read as materialized (
    select m.id, f.uuid, f.position from f, json_array_elements_text(f.consumed::json) as m (id) where f.code = 0),
consumed as (
    update {dbos}.notifications n
       set consumed = true, consumed_by_function_id = read.position
      from read
     where n.message_uuid = read.id and n.destination_uuid is not distinct from read.uuid and not n.consumed)"""

_ACTIVITIES = """
activity_rows as (
    insert into {own}.activities as a (
        workflow_uuid, seq, task_queue, attempt, scheduled_ms, due_ms, started_ms, worker, offered, spec, heartbeat,
        heartbeat_at_ms, last_failure, cancel_requested, ended_ms, operator)
    select x.uuid, t.seq, t.task_queue, t.attempt, t.scheduled_ms, t.due_ms, t.started_ms, t.worker, t.offered, t.spec,
           t.heartbeat, t.heartbeat_at_ms, t.last_failure, t.cancel_requested, t.ended_ms, t.operator
      from (/*from*/) as x (uuid, activities),
           json_to_recordset(x.activities::json) as t (
               seq int, task_queue text, attempt int, scheduled_ms bigint, due_ms bigint, started_ms bigint,
               worker text, offered boolean, spec text, heartbeat text, heartbeat_at_ms bigint, last_failure text,
               cancel_requested boolean, ended_ms bigint, operator text)
    on conflict (workflow_uuid, seq) do update set
        task_queue = excluded.task_queue, attempt = excluded.attempt, scheduled_ms = excluded.scheduled_ms,
        due_ms = excluded.due_ms, offered = excluded.offered, spec = excluded.spec,
        -- An attempt that another process took meanwhile stays taken.
        started_ms = case when a.attempt = excluded.attempt and a.offered and excluded.offered
                          then coalesce(excluded.started_ms, a.started_ms) else excluded.started_ms end,
        worker = case when a.attempt = excluded.attempt and a.offered and excluded.offered
                      then coalesce(excluded.worker, a.worker) else excluded.worker end,
        heartbeat = coalesce(excluded.heartbeat, a.heartbeat),
        heartbeat_at_ms = coalesce(excluded.heartbeat_at_ms, a.heartbeat_at_ms),
        last_failure = excluded.last_failure, cancel_requested = excluded.cancel_requested,
        ended_ms = excluded.ended_ms, operator = excluded.operator
    returning a.task_queue, a.offered, a.due_ms, a.worker)"""
_ACTIVITIES_OF_F = "select uuid, activities from f where code = 0 and activities is not null"
_ACTIVITIES_OF_ST = "select uuid, activities from st where activities is not null"

_ACTIVITIES_DONE = """
activities_done as (
    delete from {own}.activities a using f
     where f.code = 0 and a.workflow_uuid = f.uuid and (/*which*/))"""

_UPDATES = """
update_rows as (
    insert into {own}.updates as u (workflow_uuid, update_id, stage, outcome)
    select x.uuid, t.update_id, t.stage, t.outcome
      from (/*from*/) as x (uuid, updates),
           json_to_recordset(x.updates::json) as t (update_id text, stage int, outcome text)
     where t.stage > 0
    on conflict (workflow_uuid, update_id) do update set stage = excluded.stage, outcome = excluded.outcome
    returning u.workflow_uuid, u.update_id, u.watched),
updates_told as (
    update {own}.updates u set stage = 0, outcome = t.outcome
      from (/*from*/) as x (uuid, updates),
           json_to_recordset(x.updates::json) as t (update_id text, stage int, outcome text)
     where t.stage = 0 and u.workflow_uuid = x.uuid and u.update_id = t.update_id and u.watched
    returning u.workflow_uuid, u.update_id, u.watched),
updates_gone as (
    delete from {own}.updates u
     using (/*from*/) as x (uuid, updates), json_to_recordset(x.updates::json) as t (update_id text, stage int)
     where t.stage = 0 and u.workflow_uuid = x.uuid and u.update_id = t.update_id and not u.watched)"""
_UPDATES_OF_F = "select uuid, updates from f where code = 0 and updates is not null"
_UPDATES_OF_ST = "select uuid, updates from st where updates is not null"

_MAIL = """
boxes as materialized (
    select d.uuid, d.messages, d.size, greatest(r.last_mail_ms, (select ms from clock) - 1) as before,
           r.last_mail_ms as last
      from unnest($m_uuid::text[], $m_size::int[], $m_messages::text[]) as d (uuid, size, messages),
           lateral (
                select k.last_mail_ms from {own}.runs k
                 where k.workflow_uuid = d.uuid and k.status is not distinct from 1
                   for no key update) as r),
boxed as (
    update {own}.runs r
       set last_mail_ms = boxes.before + boxes.size,
           wake_at_ms = case when r.owner is null
                             then least(coalesce(r.wake_at_ms, (select ms from clock)), (select ms from clock))
                             else r.wake_at_ms end
      from boxes
     where r.workflow_uuid = boxes.uuid
    returning r.task_queue, r.owner),
mailed as (
    insert into {dbos}.notifications (
        message_uuid, destination_uuid, topic, message, created_at_epoch_ms, serialization)
    select m.id, boxes.uuid, m.topic, m.message, boxes.before + m.ord, m.serialization
      from boxes, json_to_recordset(boxes.messages::json)
                  as m (ord int, id text, topic text, message text, serialization text)
     where (select 1 from {dbos}.notifications n where n.message_uuid = m.id) is null
    returning message_uuid, created_at_epoch_ms, destination_uuid)"""

# A stock tool's message (its id is not one of ours, see ``mailbox``) has a time of its own: while one waits, nobody can say
# what comes before ours but who reads them all.
_FOLLOWS = """array(select case when (select 1 from {dbos}.notifications n
                               where n.destination_uuid = boxes.uuid and not n.consumed
                                 and left(n.message_uuid, 4) <> 'dc1:'
                               limit 1) is null then boxes.last end
               from boxes) as follows"""

_POSTED = "select message_uuid, created_at_epoch_ms from mailed"
_POSTED_BY_ST = "select message_uuid, created_at_epoch_ms from st_mail"

_WORK_OF_ST = """select 'work|' || task_queue from st_runs
                   where owner is null and status = 1 and wake_at_ms <= (select ms from clock)"""
_WORK_OF_NEXT = """select 'work|' || task_queue from next_runs
                   where owner is null and wake_at_ms <= (select ms from clock)"""
_WORK_OF_RUNS = """select 'work|' || task_queue from run_rows
                   where owner is null and status = 1 and wake_at_ms <= (select ms from clock)"""
_WORK_OF_MAIL = "select 'work|' || task_queue from boxed where owner is null"
_CLOSED_WAKE = "select 'closed|' || workflow_uuid from run_rows where watched and status <> 1"
_ACTIVITY_WAKE = """select 'activity|' || task_queue from activity_rows
                   where offered and worker is null and due_ms <= (select ms from clock)"""
_UPDATE_WAKE = """select 'update|' || workflow_uuid || '|' || update_id from update_rows where watched
          union all select 'update|' || workflow_uuid || '|' || update_id from updates_told"""
_MAIL_WAKE = "select 'mail|' || destination_uuid from mailed"
_MAIL_WAKE_OF_ST = "select 'mail|' || uuid from st where mail is not null"

NOTIFY = """(select count(*) from (
        select pg_notify('dbos_compat_wake', case when octet_length(wake) > 7000 then {wake} || 'resync|'
                                                  else {wake} || wake end)
          from (/*distinct*/ (/*wakes*/) as w (wake)) as d offset 0) as n)"""
"""Sends the wakes. A key too long for a NOTIFY payload becomes a RESYNC: everybody looks at everything."""


@cache
def compose(shape: int) -> tuple[str, tuple[str, ...]]:
    """The statement of a shape and the names of its parameters, in order."""
    ctes = [_CLOCK]
    answers: list[str] = []
    wakes: list[str] = []
    if shape & S.START:
        ctes += _starts(shape)
        answers.append("array(select i from st) as started")
        if shape & S.START_WORK:
            wakes.append(_WORK_OF_ST)
        if shape & S.START_MAIL and shape & S.ANNOUNCE_MAIL:
            wakes.append(_MAIL_WAKE_OF_ST)
    if shape & S.FENCED:
        ctes.append(_fenced(shape))
        answers += [
            "array(select i from f where code = 0) as done",
            "array(select i from f where code = 1) as taken",
            "array(select i from f where code = 2) as waiting",
        ]
    ctes += _writes(shape)
    if shape & S.MAIL:
        ctes.append(_MAIL)
        answers.append("array(select uuid from boxes) as boxes")
        answers.append(_FOLLOWS)
        wakes.append(_WORK_OF_MAIL)
        if shape & S.ANNOUNCE_MAIL:
            wakes.append(_MAIL_WAKE)
    if shape & S.SETTLED:
        accepted = " or (select 1 from boxes b where b.uuid = d.box) is not null" if shape & S.MAIL else ""
        ctes.append(_SETTLED.replace("/*mail:box*/", accepted))
    posted = [text for part, text in ((S.START_MAIL, _POSTED_BY_ST), (S.MAIL, _POSTED)) if shape & part]
    if posted:
        ctes.append("\nposted as materialized (" + _union(posted) + ")")
        answers.append("array(select message_uuid from posted) as mail_ids")
        answers.append("array(select created_at_epoch_ms from posted) as mail_times")
    if shape & S.PARK:
        wakes.append(_WORK_OF_RUNS)
    if shape & S.END:
        wakes.append(_CLOSED_WAKE)
    if shape & (S.NEXT | S.START_NEXT):
        wakes.append(_WORK_OF_NEXT)
    if shape & (S.ACTIVITIES | S.START_ACTIVITIES):
        wakes.append(_ACTIVITY_WAKE)
    if shape & (S.UPDATES | S.START_UPDATES):
        wakes.append(_UPDATE_WAKE)
    if wakes:
        lone = shape & S.LONE and len(wakes) == 1 and not shape & (S.ACTIVITIES | S.START_ACTIVITIES)
        distinct = "select wake from" if lone else "select distinct wake from"
        answers.append(NOTIFY.replace("/*distinct*/", distinct).replace("/*wakes*/", _union(wakes)))
    return numbered("with " + ",".join(ctes) + "\nselect " + ",\n       ".join(answers))


def _starts(shape: int) -> list[str]:
    status, runs = _NEW_STATUS, _NEW_RUNS
    if shape & S.START_END:
        for text, closed in (
            ("/*closed:status*/case when claimed", "case when status is not null then dbos_status when claimed"),
            ("/*closed:owner*/case when claimed", "case when status is null and not parks and claimed"),
            ("/*closed:completed*/null", "close_ms"),
            (
                "/*closed:attributes*/search_attributes::jsonb",
                "case when finer is null then search_attributes::jsonb else coalesce(search_attributes::jsonb, '{}')"
                " || jsonb_build_object('dbos_compat.status', finer) end",
            ),
            (
                "/*closed:wake*/case when not claimed",
                "case when status is not null then null when parks then wake_at when not claimed",
            ),
            ("/*closed:names*/", ", status, close_ms, close, history_length/*next:names*/"),
            ("/*closed:values*/", ", coalesce(status, 1), close_ms, close, coalesce(history_length, 0)/*next:values*/"),
        ):
            status, runs = status.replace(text, closed), runs.replace(text, closed)
        if shape & S.START_NEXT:
            runs = runs.replace("/*next:names*/", ", is_current").replace("/*next:values*/", ", next is null")
    if shape & S.START_MAIL:
        last = "coalesce((select ms from clock) + json_array_length(mail::json), 0)"
        runs = runs.replace("/*mail:last*/0", last)
    st = _ST
    if shape & S.START_CHILD:
        st = st.replace("/*child:open*/", _ST_CHILD)
        status, runs = _of_children(status), _of_children(runs)
    parts = [
        _columns(st, "s", START_COLUMNS, shape),
        *[new.replace("/*set*/", "st") for new in (status, _NEW_INPUT, runs)],
    ]
    if shape & S.START_MAIL:
        parts.append(_ST_MAIL)
    return parts


def _fenced(shape: int) -> str:
    text = _columns(_F, "f", FENCED_COLUMNS, shape)
    text = text.replace("/*position*/", _F_POSITION if shape & S.ENTRY else "when false then 1")
    if shape & S.END:
        text = text.replace("/*mail*/", _F_MAIL).replace("/*lock*/", ", r")
        last_mail = "r.last_mail_ms"
        if shape & S.NEXT:
            text, last_mail = (
                text.replace("/*next:current*/", "r.is_current as current, "),
                f"{last_mail}, r.is_current",
            )
        text = text.replace("/*last_mail*/", last_mail)
        return text.replace("/*join*/", "join {own}.runs r on r.workflow_uuid = w.workflow_uuid")
    return text


def _writes(shape: int) -> list[str]:
    parts: list[str] = []
    if shape & (S.ENTRY | S.START_ENTRY):
        parts.append(_from(_ENTRIES, shape, (S.ENTRY, _ENTRIES_OF_F), (S.START_ENTRY, _ENTRIES_OF_ST)))
    if shape & (S.END | S.START_END):
        parts.append(_from(_OUTPUTS, shape, (S.END, _OUTPUTS_OF_F), (S.START_END, _OUTPUTS_OF_ST)))
    if shape & S.RUN:
        runs = _RUNS
        if shape & S.NEXT:
            runs = runs.replace("/*next:set*/", ",\n           is_current = r.is_current and f.next is null")
            runs = runs.replace("/*next:returning*/", ", f.next, f.current")
        parts += [_STATUSES, runs]
    if shape & (S.NEXT | S.START_NEXT):
        sources = [text for part, text in ((S.NEXT, NEXT_OF_F), (S.START_NEXT, _NEXT_OF_ST)) if shape & part]
        parts += successors(_union(sources))
    if shape & S.OUTBOX:
        parts.append(_from(_OUTBOX, shape, (S.FENCED, _OUTBOX_OF_F), (S.START, _OUTBOX_OF_ST)))
    if shape & S.CONSUMED:
        parts.append(_CONSUMED)
    if shape & (S.ACTIVITIES | S.START_ACTIVITIES):
        parts.append(
            _from(_ACTIVITIES, shape, (S.ACTIVITIES, _ACTIVITIES_OF_F), (S.START_ACTIVITIES, _ACTIVITIES_OF_ST))
        )
    which = []
    if shape & S.END:
        which.append("f.status is not null")
    if shape & S.ACTIVITIES_DONE:
        which.append("a.seq = any (f.done::int[])")
    if which:
        parts.append(_ACTIVITIES_DONE.replace("/*which*/", " or ".join(which)))
    if shape & (S.UPDATES | S.START_UPDATES):
        parts.append(_from(_UPDATES, shape, (S.UPDATES, _UPDATES_OF_F), (S.START_UPDATES, _UPDATES_OF_ST)))
    return parts


def successors(source: str) -> list[str]:
    """The parts that write the runs whose JSON (``flush_values.next_json``) ``source`` selects: ``next`` and
    ``current``. They are written as starts are."""
    fields = ", ".join([f"{name} {kind}" for name, kind in used(START_COLUMNS, S.START_CHILD) if name != "i"])
    runs = _NEW_RUNS.replace("/*closed:names*/", ", is_current").replace("/*closed:values*/", ", current")
    written = [new.replace("/*set*/", "next") for new in (_of_children(_NEW_STATUS), _NEW_INPUT, _of_children(runs))]
    return [_NEXT.replace("/*from*/", source).replace("/*fields*/", fields), *written]


def _columns(text: str, prefix: str, columns: tuple[tuple[str, str, int], ...], shape: int) -> str:
    there = used(columns, shape)
    values = ["$" + prefix + "_" + name + "::" + kind for name, kind in there]
    if shape & S.LONE:
        rows = "(values (" + ", ".join(values) + "))"
    else:
        rows = "unnest(" + ", ".join([value + "[]" for value in values]) + ")"
    return text.replace("/*rows*/", rows).replace("/*columns*/", ", ".join([name for name, _ in there]))


def _from(text: str, shape: int, *sources: tuple[int, str]) -> str:
    return text.replace("/*from*/", _union([source for needs, source in sources if shape & needs]))


def _union(selects: Sequence[str]) -> str:
    return "\n    union all ".join(selects)


def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Turn ``$name`` into ``$1`` ..., and tell the names in order."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    text = re.sub(r"\$([a-z][a-z_]*)", number, text)
    return text, tuple(names)
