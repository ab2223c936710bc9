"""Stubs: who answers for an activity or a child workflow that the shadow must not run.

First choice is the user's own stub for its type, then the recorded result. What has neither is not run: the shadow of that
run stops, and says what was missing. Real code runs only where a caller has asked for that activity by name
(``run_for_real``), outside of any worker, with ``temporalio.testing.ActivityEnvironment`` around it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import temporalio.testing
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, ChildWorkflowError

from dbos_compat.convert.failures import failure_text
from dbos_compat.convert.payloads import payload_text, payloads_text
from dbos_core.activities.spec import OutcomeKind

__all__ = ["Answer", "Stub", "Stubs"]

Stub = Any
"""A function of the activity's arguments (it may be a coroutine function, and may raise ``ApplicationError``), or a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a stub has answered, as a journal record has it."""

    kind: OutcomeKind
    record: str
    """JSON text: the form of the result, the failure, or of the details of a cancellation."""


class Stubs:
    """The answers that a user has given."""

    def __init__(
        self,
        stubs: Mapping[str, Stub] | None = None,
        *,
        run_for_real: Mapping[str, Callable[..., Any]] | None = None,
        converter: DataConverter = DataConverter.default,
    ) -> None:
        """
        Args:
            stubs: by type of activity or child workflow, as it is called now.
            run_for_real: activities whose own code is to run in this process, by type: only what is named here.
            converter: makes values of payloads and back; its codec is not used.
        """
        self._stubs = dict(stubs or {})
        self._real = dict(run_for_real or {})
        self._converter = converter

    def has(self, name: str) -> bool:
        """Is there an answer for this type?"""
        return name in self._stubs or name in self._real

    async def answer(self, name: str, args: list[Payload]) -> Answer:
        """Ask for an answer. ``args`` are decoded as the stub's type hints say.

        Raises:
            KeyError: there is no stub of this name.
        """
        real = self._real.get(name)
        stub = self._stubs[name] if real is None else real
        try:
            if not callable(stub):
                result = stub
            else:
                values = self._values(stub, args)
                called = temporalio.testing.ActivityEnvironment().run(stub, *values) if real else stub(*values)
                result = await called if inspect.isawaitable(called) else called
        except CancelledError as error:
            details = self._converter.payload_converter.to_payloads(list(error.details))
            return Answer(kind=OutcomeKind.CANCELED, record=payloads_text(details))
        except Exception as error:
            return Answer(kind=OutcomeKind.FAILED, record=failure_text(self._failure(error)))
        (payload,) = self._converter.payload_converter.to_payloads([result])
        return Answer(kind=OutcomeKind.COMPLETED, record=payload_text(payload))

    def _values(self, stub: Callable[..., Any], args: list[Payload]) -> list[Any]:
        return self._converter.payload_converter.from_payloads(args, _hints(stub, len(args)))

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, ActivityError | ChildWorkflowError) and isinstance(error.cause, ApplicationError):
            error = error.cause
        made = Failure()
        self._converter.failure_converter.to_failure(error, self._converter.payload_converter, made)
        return made


def _hints(stub: Callable[..., Any], count: int) -> list[type] | None:
    """The types of its first arguments; None where it does not say."""
    try:
        parameters = list(inspect.signature(stub, eval_str=True).parameters.values())
    except (ValueError, NameError, TypeError):
        return None
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(plain) < count or any(p.annotation is p.empty for p in plain[:count]):
        return None
    return [p.annotation for p in plain[:count]]
