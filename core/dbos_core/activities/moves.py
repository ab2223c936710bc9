"""The states of an activity and the table of moves between them. ``machine.py`` has the methods that it names.

What is not in the table is a bug of ours and raises; the unit tests walk every line of it.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(enum.IntEnum):  # whole numbers, since their hash costs nothing
    PLANNED = enum.auto()
    """Asked for; the commit that journals it is not through."""
    READY = enum.auto()
    """Due; waits for a free slot of this process."""
    RECORDING = enum.auto()
    """Has a slot; the row that records its start is being written."""
    STARTED = enum.auto()
    """Runs in this process, or was left open by it to be completed from outside."""
    BACKOFF = enum.auto()
    """Waits for the next attempt to be due."""
    OFFERED = enum.auto()
    """Whichever process serves the queue may take it, or has taken it."""
    WITHDRAWING = enum.auto()
    """The store was asked to take the offer back."""
    PAUSED = enum.auto()
    """An operator wants no further attempt for now. No clock runs."""
    SPENT = enum.auto()
    """The process that ran it died, and there is no further attempt: ends when its clock would have ended it."""
    CLOSED = enum.auto()


class Input(enum.IntEnum):
    RELEASE = enum.auto()
    RESTORE = enum.auto()
    SLOT = enum.auto()
    RECORDED = enum.auto()
    OUTCOME = enum.auto()
    LOST = enum.auto()
    HEARTBEAT = enum.auto()
    LEFT_OPEN = enum.auto()
    CLOCK = enum.auto()
    CANCEL = enum.auto()
    UNSERVED = enum.auto()
    TAKEN = enum.auto()
    WITHDRAWN = enum.auto()
    FORGET = enum.auto()
    OPERATE = enum.auto()


class Move(NamedTuple):
    method: str
    to: tuple[State, ...]


_S, _I = State, Input
_STAYS_CLOSED = Move("_nothing", (_S.CLOSED,))
_ENDED = Move("_ended", (_S.CLOSED, _S.BACKOFF, _S.PAUSED))
_LOST = Move("_lost", (_S.CLOSED, _S.BACKOFF, _S.READY, _S.OFFERED, _S.SPENT, _S.PAUSED))
_OPERATE_WAITING = Move("_operate_waiting", (_S.READY, _S.BACKOFF, _S.OFFERED, _S.PAUSED, _S.CLOSED))
_UNSTARTED_CANCEL = Move("_cancel_unstarted", (_S.CLOSED,))

MOVES: dict[State, dict[Input, Move]] = {
    _S.PLANNED: {
        _I.RELEASE: Move("_release", (_S.READY, _S.STARTED, _S.OFFERED, _S.BACKOFF)),  # BACKOFF: the clock was set back
        _I.RESTORE: Move(
            "_restore", (_S.READY, _S.BACKOFF, _S.OFFERED, _S.WITHDRAWING, _S.STARTED, _S.SPENT, _S.PAUSED, _S.CLOSED)
        ),
        _I.FORGET: Move("_give_up_plan", (_S.CLOSED,)),
    },
    _S.READY: {
        _I.SLOT: Move("_slot", (_S.STARTED, _S.RECORDING)),
        _I.CLOCK: Move("_clock_unstarted", (_S.READY, _S.CLOSED)),
        _I.CANCEL: _UNSTARTED_CANCEL,
        _I.UNSERVED: Move("_offer", (_S.OFFERED,)),
        _I.FORGET: Move("_forget", (_S.READY,)),
        _I.OPERATE: _OPERATE_WAITING,
    },
    _S.RECORDING: {
        _I.RECORDED: Move("_recorded", (_S.STARTED, _S.PAUSED, _S.CLOSED)),
        _I.CLOCK: Move("_stay", (_S.RECORDING,)),  # one that was armed before; see _next_clock_ms
        _I.OUTCOME: _ENDED,  # the store refuses the row, so the attempt must not start
        _I.CANCEL: Move("_note_cancel", (_S.RECORDING,)),
        _I.FORGET: Move("_forget", (_S.RECORDING,)),
        _I.OPERATE: Move("_operate_recording", (_S.RECORDING,)),
    },
    _S.STARTED: {
        _I.OUTCOME: _ENDED,
        _I.LOST: Move("_stay", (_S.STARTED,)),  # it runs here, or was left open: whose process died is all the same
        _I.HEARTBEAT: Move("_heartbeat", (_S.STARTED,)),
        _I.LEFT_OPEN: Move("_left_open", (_S.STARTED,)),
        _I.CLOCK: Move("_clock_started", (_S.STARTED, _S.CLOSED)),
        _I.CANCEL: Move("_cancel_started", (_S.STARTED,)),
        _I.FORGET: Move("_forget", (_S.STARTED,)),
        _I.OPERATE: Move("_operate_started", (_S.STARTED,)),
    },
    _S.BACKOFF: {
        _I.CLOCK: Move("_clock_backoff", (_S.BACKOFF, _S.READY, _S.OFFERED, _S.CLOSED)),
        _I.CANCEL: _UNSTARTED_CANCEL,
        _I.FORGET: Move("_forget", (_S.BACKOFF,)),
        _I.OPERATE: _OPERATE_WAITING,
    },
    _S.OFFERED: {
        _I.OUTCOME: _ENDED,
        _I.LOST: _LOST,
        _I.HEARTBEAT: Move("_stay", (_S.OFFERED,)),
        _I.LEFT_OPEN: Move("_left_open", (_S.STARTED,)),
        _I.TAKEN: Move("_taken", (_S.STARTED,)),
        _I.CLOCK: Move("_clock_offered", (_S.OFFERED, _S.WITHDRAWING, _S.CLOSED)),
        _I.CANCEL: Move("_withdraw", (_S.OFFERED, _S.WITHDRAWING)),
        _I.FORGET: Move("_forget", (_S.OFFERED,)),
        _I.OPERATE: Move("_operate_offered", (_S.OFFERED, _S.WITHDRAWING)),
    },
    _S.WITHDRAWING: {
        _I.WITHDRAWN: Move("_withdrawn", (_S.OFFERED, _S.READY, _S.BACKOFF, _S.PAUSED, _S.CLOSED)),
        _I.OUTCOME: _ENDED,
        _I.LOST: _LOST,
        _I.HEARTBEAT: Move("_stay", (_S.WITHDRAWING,)),
        _I.LEFT_OPEN: Move("_left_open", (_S.STARTED,)),
        _I.TAKEN: Move("_taken", (_S.STARTED,)),
        _I.CLOCK: Move("_stay", (_S.WITHDRAWING,)),  # one that was armed before; see _next_clock_ms
        _I.CANCEL: Move("_note_cancel", (_S.WITHDRAWING,)),
        _I.FORGET: Move("_forget", (_S.WITHDRAWING,)),
        _I.OPERATE: Move("_operate_withdrawing", (_S.WITHDRAWING,)),
    },
    _S.PAUSED: {
        _I.CLOCK: Move("_stay", (_S.PAUSED,)),  # one that was armed before
        _I.CANCEL: _UNSTARTED_CANCEL,
        _I.OPERATE: _OPERATE_WAITING,
        _I.FORGET: Move("_forget", (_S.PAUSED,)),
    },
    _S.SPENT: {
        _I.OUTCOME: _ENDED,  # completed from outside, by the token of the attempt that was lost
        _I.LOST: Move("_stay", (_S.SPENT,)),
        _I.LEFT_OPEN: Move("_left_open", (_S.STARTED,)),  # said before the process died, and read only now
        _I.HEARTBEAT: Move("_stay", (_S.SPENT,)),
        _I.CLOCK: Move("_clock_spent", (_S.SPENT, _S.BACKOFF, _S.READY, _S.OFFERED, _S.CLOSED)),
        _I.CANCEL: Move("_note_cancel", (_S.SPENT,)),
        _I.FORGET: Move("_forget", (_S.SPENT,)),
        _I.OPERATE: Move("_operate_spent", (_S.SPENT,)),
    },
    _S.CLOSED: dict.fromkeys(
        (
            _I.OUTCOME,
            _I.LOST,
            _I.HEARTBEAT,
            _I.LEFT_OPEN,
            _I.CLOCK,
            _I.CANCEL,
            _I.RECORDED,
            _I.WITHDRAWN,
            _I.FORGET,
            _I.OPERATE,
        ),
        _STAYS_CLOSED,
    ),
}
