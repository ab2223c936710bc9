"""Stubs: what activities and children may answer. The kit runs none of them; it chooses how each attempt ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.exceptions import ApplicationError

from dbos_shadow.determinism.values import FromType


@dataclass(frozen=True, slots=True)
class Returns:
    """An attempt ends with a value."""

    values: Any = None


@dataclass(frozen=True, slots=True)
class Raises:
    """An attempt ends with an error."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class TimesOut:
    """An attempt never reports."""


Ending = Returns | Raises | TimesOut


@dataclass(frozen=True, slots=True)
class Stub:
    """What one activity or child may answer, the boring ending first."""

    endings: tuple[Ending, ...]
    hangs: bool = field(default=True)
    """Its attempts may also hang until a clock ends them."""

    def __or__(self, other: Stub) -> Stub:
        """Either. The left one's first ending stays the boring one."""
        return Stub(self.endings + other.endings, self.hangs or other.hangs)

    def never_hangs(self) -> Stub:
        """The same without time-outs that no stub asks for."""
        return replace(self, hangs=False)


def returns(values: Any = None) -> Stub:
    """The activity returns a value.

    Args:
        values: a Hypothesis strategy, ``from_type(...)``, or the value itself.
    """
    return Stub((Returns(values),))


def may_fail(*errors: Any, value: Any = None) -> Stub:
    """The activity returns, or an attempt fails with one of these errors: retryable, and such that it is not tried again.

    Args:
        errors: exception classes or instances. An ``ApplicationError`` fails as it is; without one a plain failure.
        value: what it returns else, as in :func:`returns`.
    """
    kinds = [ApplicationError("failed", type="Failed")] if not errors else [_error(error) for error in errors]
    endings: list[Ending] = [Returns(value)]
    for error in kinds:
        endings.append(Raises(error))
        if not (isinstance(error, ApplicationError) and error.non_retryable):
            endings.append(Raises(_final(error)))
    return Stub(tuple(endings))


def raises(error: Any) -> Stub:
    """Each attempt fails with this error.

    Args:
        error: an exception class or instance.
    """
    return Stub((Raises(_error(error)),))


def times_out() -> Stub:
    """No attempt ever reports: whichever of the activity's clocks is first ends it."""
    return Stub((TimesOut(),))


def _error(error: Any) -> BaseException:
    if isinstance(error, BaseException):
        return error
    if isinstance(error, type) and issubclass(error, BaseException):
        if issubclass(error, ApplicationError):
            try:
                return error(error.__name__)
            except TypeError:
                return ApplicationError(error.__name__, type=error.__name__)
        try:
            return error("chosen by the schedule")
        except Exception:
            return ApplicationError("chosen by the schedule", type=error.__name__)
    raise TypeError(f"{error!r} is neither an exception nor a class of exceptions")


def _final(error: BaseException) -> ApplicationError:
    """The same failure, not to be tried again."""
    if isinstance(error, ApplicationError):
        return ApplicationError(str(error), *error.details, type=error.type, non_retryable=True)
    return ApplicationError(str(error), type=type(error).__name__, non_retryable=True)


__all__ = [
    "Ending", "FromType", "Raises", "Returns", "Stub", "TimesOut", "may_fail", "raises", "returns", "times_out",
]  # fmt: skip
