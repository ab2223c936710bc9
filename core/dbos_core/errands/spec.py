"""What an errand is to the kernel: something that a run wants done to another run, and how that went.

An errand is journalled with the commands of the run and performed after that commit; its reply is an event of the run.
Nothing else is written of it: what has no reply in the journal is performed again by whoever takes the run up. So
performing is idempotent: a child's run id follows from its parent's, a message's id from its sender's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import NAMESPACE_OID, uuid5

from dbos_core.mailbox import OWN_ID

if TYPE_CHECKING:
    from dbos_core.commit import Close, Mail, NewRun, RunRow


class ErrandKind(enum.StrEnum):
    CHILD = "child"
    """Start a child."""
    SIGNAL = "signal"
    CANCEL = "cancel"
    """Request the cancellation of some other workflow."""
    CHILD_CANCEL = "child_cancel"
    """Request the cancellation of a child. Its ``seq`` is the child's."""


ErrandKey = tuple[ErrandKind, int, int]


@dataclass(slots=True, kw_only=True)
class Errand:
    """What the run asks for. Immutable by habit."""

    kind: ErrandKind
    seq: int
    number: int = 0
    """Which of several requests to cancel one child."""
    workflow_id: str
    run_id: str = ""
    """Only this run of the workflow id; empty: the current one."""
    child_only: bool = False
    """Only if it is a child of the run that asks."""
    event_id: int
    """Of the event that says in the history what was asked for."""
    record: str
    """JSON text, read by :class:`Relations` only."""
    native: Any = field(default=None, compare=False, repr=False)
    """The other side's own form of ``record``, as long as it is at hand. Never stored."""

    @property
    def key(self) -> ErrandKey:
        return self.kind, self.seq, self.number


@dataclass(slots=True, kw_only=True)
class Reply:
    """How an errand went."""

    key: ErrandKey
    refused: bool = False
    """A child's workflow id is taken; a target is unknown, or closed where that matters."""
    run_id: str = ""
    """Of the child that was started."""


class Relations(Protocol):
    """What the kernel asks the side that understands records, when runs have to do with each other. No I/O."""

    def child(self, errand: Errand, parent: RunRow, now_ms: int) -> tuple[NewRun, str, str]:
        """The run to start (its id is ``child_run_id``), and the row key and close record of ``Store.start_by_policy``."""
        ...

    def letter(self, errand: Errand, sender: RunRow, target: RunRow) -> Mail:
        """The signal or cancel request that an errand brings."""
        ...

    def news(self, child: RunRow) -> Mail | None:
        """What a closed run says to its parent; None: another run follows it, and the parent hears nothing yet."""
        ...

    def end_of_child(self, child: RunRow, now_ms: int) -> Close:
        """How a child ends that its parent's close terminates."""
        ...

    def cancel_of_child(self, child: RunRow) -> Mail:
        """The cancel request to a child whose parent has closed."""
        ...


def child_run_id(parent_run_id: str, seq: int) -> str:
    """The run id of a child: the same whoever starts it."""
    return str(uuid5(NAMESPACE_OID, f"{parent_run_id}/child/{seq}"))


def news_id(parent_run_id: str, seq: int) -> str:
    """The id of the message by which a run hears of its child's end, however often it is sent."""
    return f"{OWN_ID}{parent_run_id}:child:{seq}"
