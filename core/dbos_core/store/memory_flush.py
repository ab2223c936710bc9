"""Memory flush: what becomes of each commit of a flush, on ``memory_tables``.

Each commit is judged first and then applied by assignments that cannot fail: as a whole or not at all. Values that
Postgres would refuse are refused before the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from dbos_core.commit import PARK_FOREVER, Commit, NewRun, Verdict
from dbos_core.errors import BadCommit
from dbos_core.mailbox import OWN_ID
from dbos_core.store.base import WakeKind
from dbos_core.store.memory_tables import Run, Tables


def flush(tables: Tables, process_id: str, commits: Sequence[Commit], *, again: bool, now_ms: int) -> list[Verdict]:
    for commit in commits:
        refuse_bad_values(commit)
    verdicts: dict[int, Verdict] = {}
    # Starts first, owners last: a run that would close or park in the same flush sees the mail that came with it.
    for i, commit in sorted(enumerate(commits), key=lambda pair: _rank(pair[1])):
        verdicts[i] = _one(tables, process_id, commit, again, now_ms)
        for workflow_uuid in () if verdicts[i] is Verdict.RUN_CLOSED else commit.settled:
            tables.outbox.pop(workflow_uuid, None)
    return [verdicts[i] for i in range(len(commits))]


def _rank(commit: Commit) -> int:
    return 0 if commit.start is not None else 2 if commit.fenced else 1


def _one(tables: Tables, process_id: str, commit: Commit, again: bool, now_ms: int) -> Verdict:
    if commit.start is not None:
        return _start(tables, process_id, commit, commit.start, again, now_ms)
    run = tables.runs.get(commit.workflow_uuid)
    if commit.settled and not commit.mail:
        return Verdict.COMMITTED
    if commit.fenced:
        return _fenced(tables, process_id, commit, run, again, now_ms)
    return _mail(tables, process_id, commit, run, again, now_ms)


def _start(tables: Tables, process_id: str, commit: Commit, new: NewRun, again: bool, now_ms: int) -> Verdict:
    known = tables.runs.get(commit.workflow_uuid)
    if known is not None and again and known.row.run_id == new.run_id:
        _set_times(tables, commit)
        return Verdict.COMMITTED
    if known is not None:
        return Verdict.ID_TAKEN
    if new.workflow_id in tables.current or not tables.may_begin(new):
        return Verdict.ID_TAKEN
    run = tables.add_run(new, commit.workflow_uuid, process_id if new.claimed else None, now_ms)
    for mail in commit.mail:
        if mail.mail_id not in tables.mail_ids:
            tables.add_mail(run, mail, now_ms)
    _apply(tables, process_id, run, commit, now_ms)
    return Verdict.COMMITTED


def _fenced(tables: Tables, process_id: str, commit: Commit, run: Run | None, again: bool, now_ms: int) -> Verdict:
    if again and run is not None and _landed(run, commit):
        return Verdict.COMMITTED
    if run is None or not run.owned_by(process_id):
        return Verdict.CLAIM_LOST
    if commit.entry is not None and commit.entry.position in run.journal:
        return Verdict.POSITION_LOST
    if _refused_by_mail(run, commit):
        return Verdict.MAIL_WAITING
    _apply(tables, process_id, run, commit, now_ms)
    return Verdict.COMMITTED


def _landed(run: Run, commit: Commit) -> bool:
    """True when this commit was applied by a flush whose answer was lost."""
    if commit.entry is not None:
        there = run.journal.get(commit.entry.position)
        return there is not None and there.record == commit.entry.record
    if commit.close is not None:
        return run.row.close == commit.close.record
    if commit.park_until_ms is not None:
        until_ms = None if commit.park_until_ms >= PARK_FOREVER else commit.park_until_ms
        return run.open and run.row.owner is None and run.row.wake_at_ms == until_ms
    return False


def _refused_by_mail(run: Run, commit: Commit) -> bool:
    if commit.close is not None:
        seen = commit.close.mail_seen_ms
    elif commit.park_until_ms is not None:
        seen = commit.mail_seen_ms
    else:
        return False
    if seen is None:
        return False
    known = (*commit.consumed, *commit.mail_left)
    return run.newest_waiting_ms() > seen or any(
        not mail_id.startswith(OWN_ID) and mail_id not in known for mail_id in run.mail
    )


def _mail(tables: Tables, process_id: str, commit: Commit, run: Run | None, again: bool, now_ms: int) -> Verdict:
    fresh = [mail for mail in commit.mail if mail.mail_id not in tables.mail_ids]
    if again and commit.mail and not fresh:
        _set_times(tables, commit)
        return Verdict.DUPLICATE
    if run is None or not run.open:
        return Verdict.RUN_CLOSED
    if commit.mail and not fresh:
        return Verdict.DUPLICATE
    for mail in fresh:
        tables.add_mail(run, mail, now_ms)
    _apply(tables, process_id, run, commit, now_ms)
    return Verdict.COMMITTED


def _set_times(tables: Tables, commit: Commit) -> None:
    """Tell the repeat of a commit that landed when its messages were stored."""
    for mail in commit.mail:
        mail.created_ms = tables.mail_ids.get(mail.mail_id, mail.created_ms)


def _apply(tables: Tables, process_id: str, run: Run, commit: Commit, now_ms: int) -> None:
    """Everything in the commit except its start and its mail."""
    row = run.row
    if commit.entry is not None:
        run.journal[commit.entry.position] = commit.entry
    for mail_id in commit.consumed:
        run.mail.pop(mail_id, None)
    if commit.memo is not None:
        row.memo = commit.memo
    if commit.search_attributes is not None:
        row.search_attributes = commit.search_attributes
    for activity in commit.activities:
        tables.put_activity(run, activity, now_ms)
    for seq in commit.activities_done:
        tables.drop_activity(run, seq)
    _put_updates(tables, run, commit)
    if commit.history_length is not None and (commit.close is not None or commit.park_until_ms is not None):
        row.history_length = commit.history_length
    if commit.close is not None:
        tables.close_run(run, commit.close, process_id, now_ms)
    elif commit.park_until_ms is not None:
        tables.let_go(run, commit.park_until_ms, now_ms)


def _put_updates(tables: Tables, run: Run, commit: Commit) -> None:
    for update in commit.updates:
        if update.stage == 0 and update.update_id not in run.watched_updates:
            run.updates.pop(update.update_id, None)
        else:
            run.updates[update.update_id] = replace(update)
        if update.update_id in run.watched_updates:
            tables.wake(WakeKind.UPDATE, f"{run.row.workflow_uuid}|{update.update_id}")


def refuse_bad_values(commit: Commit) -> None:
    """Raise ``BadCommit`` for what Postgres would not store: NUL bytes, lone surrogates, attributes not JSON."""
    texts = _texts(commit)
    together = "".join(texts)
    if not together.isascii() or "\0" in together:
        for text in texts:
            refuse_bad_text(commit.workflow_uuid, text)
    successor = commit.close.successor if commit.close is not None else None
    attributes = commit.search_attributes or (commit.start.search_attributes if commit.start else None)
    for json_text in (attributes, successor.search_attributes if successor is not None else None):
        if json_text is not None:
            _refuse_bad_json(commit.workflow_uuid, json_text)


def refuse_bad_text(workflow_uuid: str, text: str) -> None:
    if "\0" in text:
        raise BadCommit(f"workflow {workflow_uuid!r}: a text holds a NUL byte, which no database text can; encode it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadCommit(f"workflow {workflow_uuid!r}: a text is not valid Unicode ({error}); encode it") from error


def _refuse_bad_json(workflow_uuid: str, text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise BadCommit(f"workflow {workflow_uuid!r}: its search attributes are not JSON ({error})") from error
    if "\\u0000" in text:
        raise BadCommit(f"workflow {workflow_uuid!r}: its search attributes hold a NUL character, which jsonb cannot")


def _texts(commit: Commit) -> list[str]:
    texts: list[str | None] = [commit.workflow_uuid, commit.memo]
    for new in (commit.start, commit.close.successor if commit.close is not None else None):
        if new is not None:
            texts += (new.workflow_id, new.workflow_type, new.task_queue, new.inputs, new.request_id, new.memo)
            texts += (new.metadata, new.parent.workflow_uuid if new.parent else None)
    if commit.entry is not None:
        texts += (commit.entry.name, commit.entry.record)
    if commit.close is not None:
        texts += (commit.close.record, commit.close.output, commit.close.error)
    for mail in commit.mail:
        texts += (mail.mail_id, mail.topic, mail.message)
    for row in commit.activities:
        texts += (row.task_queue, row.spec, row.heartbeat, row.last_failure, row.operator)
    for update in commit.updates:
        texts += (update.update_id, update.outcome)
    return [text for text in texts if text]
