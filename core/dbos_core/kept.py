"""Kept outcomes: how activities ended, while the activation that is to hear of it fails.

An outcome becomes durable with the journal entry that takes it up. When that activation fails there is no entry, perhaps
for days, and the process may end before mended code comes. So the owner sends the outcome to its own run, as a message:
whoever takes the run up finds it in the mailbox and does not run the activity again. The entry that takes the outcome
up at last consumes the message.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dbos_core.activities.spec import FinalOutcome, OutcomeKind, RetryState, TimeoutKind
from dbos_core.commit import Commit, Mail, Verdict
from dbos_core.errors import BadCommit
from dbos_core.mailbox import OUTCOME, OWN_ID, is_signal
from dbos_core.phase import Phase
from dbos_core.runner import Event, EventKind

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel
    from dbos_core.live_run import LiveRun

logger = logging.getLogger(__name__)


def outcome_text(outcome: FinalOutcome) -> str:
    fields = asdict(outcome)
    del fields["mail_ids"], fields["mail_ms"]
    return json.dumps(fields)


def outcome(message: Mail) -> FinalOutcome:
    """The outcome that a message of topic ``mailbox.OUTCOME`` carries."""
    fields: dict[str, Any] = json.loads(message.message)
    timeout = fields.pop("timeout")
    return FinalOutcome(
        kind=OutcomeKind(fields.pop("kind")),
        retry_state=RetryState(fields.pop("retry_state")),
        timeout=None if timeout is None else TimeoutKind(timeout),
        mail_ids=(message.mail_id,),
        mail_ms=message.created_ms,
        **fields,
    )


def ended(mail: Iterable[Mail]) -> set[int]:
    """Seqs of the activities whose outcomes are in the mailbox."""
    return {outcome(message).seq for message in mail if message.topic == OUTCOME and message.mail_id.startswith(OWN_ID)}


def keep(kernel: Kernel, run: LiveRun, events: Sequence[Event], then: Callable[[], None]) -> None:
    """Make the outcomes among these events of a failed activation durable, then go on."""
    outcomes = [event.outcome for event in events if event.outcome is not None and not event.outcome.mail_ids]
    if not outcomes:
        then()
        return
    mail = [
        Mail(
            mail_id=f"{OWN_ID}{run.row.run_id}:o:{one.seq}",
            workflow_uuid=run.row.workflow_uuid,
            topic=OUTCOME,
            message=outcome_text(one),
        )
        for one in outcomes
    ]
    run.known_mail.update(message.mail_id for message in mail)  # what is said to ourselves need not be heard
    run.phase = Phase.COMMITTING

    def done(verdict: Verdict | BadCommit) -> None:
        if run.phase is Phase.GONE:
            return
        if verdict is Verdict.COMMITTED:
            for one, message in zip(outcomes, mail, strict=True):
                one.mail_ids, one.mail_ms = (message.mail_id,), message.created_ms
        then()

    kernel.writer.submit(Commit(workflow_uuid=run.row.workflow_uuid, fenced=False, mail=tuple(mail)), done)


def take(kernel: Kernel, run: LiveRun, message: Mail) -> None:
    """An outcome that an owner before us has kept."""
    found = outcome(message)
    if found.seq in run.activities:
        run.inbox.append(Event(EventKind.ACTIVITY, outcome=found))
    else:
        consume(kernel, run, found)


def consume(kernel: Kernel, run: LiveRun, unwanted: FinalOutcome) -> None:
    """Nobody waits for it any more."""
    if unwanted.mail_ids:
        commit = Commit(workflow_uuid=run.row.workflow_uuid, consumed=unwanted.mail_ids)
        kernel.writer.submit(commit, lambda _: None)


def refused(kernel: Kernel, run: LiveRun, message: Mail) -> bool:
    """Has a stock tool sent something that nobody can understand? Then it is dropped: else it would come again with every
    activation, which could never succeed."""
    why: str | None
    if is_signal(message.topic):
        why = run.runner.why_unreadable(message)
    else:
        why = "topics that begin so are kept for the engine. Use another name"
    if why is None:
        return False
    logger.warning(
        "message %s to workflow %r with the topic %r is dropped: %s.",
        message.mail_id,
        run.row.workflow_id,
        message.topic,
        why,
    )
    commit = Commit(workflow_uuid=run.row.workflow_uuid, consumed=(message.mail_id,))
    kernel.writer.submit(commit, lambda _: None)
    return True
