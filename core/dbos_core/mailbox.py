"""Mailbox: signals, cancel requests, updates and remote activity outcomes as durable messages, once and in order.

A message is a row of ``notifications``. The store gives it a time that grows strictly per run, which is its order, and
the commit that journals it marks it consumed. A stock DBOS ``send(id, message, topic="approve")`` makes the same kind
of row and arrives as the signal ``approve``: it is told apart by its id, which does not begin with ``OWN_ID``.
"""

from __future__ import annotations

OWN_ID = "dc1:"
"""Every message id of ours begins so; the message is then a JSON object of our own shape."""

CANCEL = "__dbos_compat_cancel"
UPDATE = "__dbos_compat_update"
ACTIVITY = "__dbos_compat_activity"
"""Outcome of one attempt that ran in a process that does not own the run: ``{"seq", "attempt", "outcome": {...}}``
(fields of ``AttemptOutcome``), or ``{"seq", "attempt", "lost": true}`` when that process died. Also what an operator
wants of an activity whose run nobody has: ``{"seq", "operate": {...}}`` (fields of ``OperatorCommand``)."""
CHILD = "__dbos_compat_child"
"""How a child of the run ended: ``{"seq", "first_run_id", ...}``, the rest is the runner's."""
OUTCOME = "__dbos_compat_outcome"
"""How an activity ended, sent by the owner to its own run while the activation that is to hear of it fails (``kept``)."""

_OWN_TOPIC = "__dbos_compat_"


def is_signal(topic: str) -> bool:
    """Is it a message to the workflow's own code, and none of the kernel's?"""
    return not topic.startswith(_OWN_TOPIC)


NULL_TOPIC = "__null__topic__"
"""What stock DBOS writes for "no topic"."""
