"""Failpoints: named places where a test may crash, pause or fail this process; free when none is armed.

A test in the same process arms a place with :func:`armed`; a test that kills a subprocess arms it from outside::

    DBOS_COMPAT_FAILPOINTS="writer.before_flush=kill@3;mail.received=raise:StoreUnavailable" python program.py

============== =======================================================================================
``kill``       SIGKILL to this very process: nothing is flushed, closed or said
``stop``       SIGSTOP to this very process: it stands still, as on a stalled machine, until SIGCONT
``pause:MS``   the thread (and so the event loop) stands still for that long
``raise``      raises :class:`FailpointError`
``raise:NAME`` raises the error of that name in ``dbos_core.errors``
============== =======================================================================================

Without ``@n`` an action happens at the first hit, with it at the n-th (from 1); in both cases once. ``@n+`` means at
the n-th and at every hit that follows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dbos_core import errors

ENVIRONMENT = "DBOS_COMPAT_FAILPOINTS"

NAMES = frozenset(
    {
        "writer.before_flush",
        "writer.after_flush",
        "live_run.after_activation",
        "activity.before_start",
        "activity.after_run",
        "activity.before_report",
        "local.before_start",
        "local.after_run",
        "timer.ring",
        "mail.received",
        "operator.before",
        "operator.after",
        "errand.before",
        "errand.after",
        "aftermath.before",
        "aftermath.child",
        "successor.committed",
        "schedule.taken",
        "schedule.decided",
        "schedule.started",
        "schedule.told",
        "memory.before_apply",
        "memory.after_apply",
    }
)
"""Every place there is. A name that is not here is refused, so that a misspelt test cannot pass by doing nothing."""


class FailpointError(RuntimeError):
    """What ``raise`` raises. Deliberately no DBOSCompatError: to the code around it, it is a bug."""


@dataclass(slots=True)
class Failpoint:
    """One armed place."""

    name: str
    action: Callable[[], None]
    at: int = 1
    onwards: bool = False
    hits: int = 0

    def hit(self) -> None:
        self.hits += 1
        if self.hits == self.at or (self.onwards and self.hits > self.at):
            self.action()


_armed: dict[str, Failpoint] = {}


def hit(name: str) -> None:
    """Pass the place ``name``."""
    point = _armed.get(name)
    if point is not None:
        point.hit()


def arm(
    name: str, action: Callable[[], None] | BaseException | str, *, at: int = 1, onwards: bool = False
) -> Failpoint:
    """Arm a place with a callable, an exception to raise, or an action's name; it replaces what was armed there."""
    if name not in NAMES:
        raise ValueError(f"there is no failpoint {name!r}; there are: {', '.join(sorted(NAMES))}")
    if at < 1:
        raise ValueError(f"failpoint {name!r}: hits are counted from 1, not {at}")
    point = Failpoint(name, _action(name, action), at, onwards)
    _armed[name] = point
    return point


def disarm(name: str | None = None) -> None:
    """Disarm a place, or all of them."""
    if name is None:
        _armed.clear()
    else:
        _armed.pop(name, None)


@contextlib.contextmanager
def armed(
    name: str, action: Callable[[], None] | BaseException | str, *, at: int = 1, onwards: bool = False
) -> Iterator[Failpoint]:
    """Arm a place for the length of a ``with`` block; ``.hits`` of what it yields tells how often it was passed."""
    point = arm(name, action, at=at, onwards=onwards)
    try:
        yield point
    finally:
        disarm(name)


def arm_from(text: str) -> None:
    """Arm everything that a value of ``DBOS_COMPAT_FAILPOINTS`` says."""
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, rest = part.partition("=")
        action, counted, count = rest.partition("@")
        onwards = count.endswith("+")
        digits = count.removesuffix("+")
        if not equals or (counted and not digits.isdecimal()):
            raise ValueError(f"{ENVIRONMENT}: {part!r} is not of the form name=action or name=action@n")
        arm(name.strip(), action.strip(), at=int(digits or 1), onwards=onwards)


def _action(name: str, action: Callable[[], None] | BaseException | str) -> Callable[[], None]:
    if isinstance(action, str):
        return _named_action(name, action)
    if isinstance(action, BaseException):
        return lambda: _throw(action)
    return action


def _named_action(name: str, action: str) -> Callable[[], None]:
    verb, _, argument = action.partition(":")
    if verb == "kill":
        return lambda: os.kill(os.getpid(), signal.SIGKILL)
    if verb == "stop":
        return lambda: os.kill(os.getpid(), signal.SIGSTOP)
    if verb == "pause" and argument.isdecimal():
        return lambda: time.sleep(int(argument) / 1000)
    if verb == "raise":
        error = _error(name, argument)
        return lambda: _throw(error)
    raise ValueError(
        f"failpoint {name!r}: there is no action {action!r}; there are kill, stop, pause:MS, raise, raise:NAME"
    )


def _error(name: str, error_name: str) -> Exception:
    said = f"failpoint {name} fired, as the test asked"
    if not error_name:
        return FailpointError(said)
    error = getattr(errors, error_name, None)
    if not (isinstance(error, type) and issubclass(error, errors.DBOSCompatError)):
        raise ValueError(f"failpoint {name!r}: dbos_core.errors has no error {error_name!r}")
    return error(said)


def _throw(error: BaseException) -> None:
    raise error


arm_from(os.environ.get(ENVIRONMENT, ""))
