"""Checked: what a plan is given, before anything runs. An error names the workflow, what was given and what to write instead.

What is only looked at when a schedule happens to get there would let a test pass that tests nothing.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from temporalio.client import Client
from temporalio.worker import Worker

from dbos_compat.private_definitions import WorkflowDefinition, activity_name
from dbos_shadow.determinism.failure import BadPlan
from dbos_shadow.determinism.stubs import Stub, may_fail, raises, returns, times_out
from dbos_shadow.determinism.values import FromType, named, positional

ALLOWANCES = ("task-failures", "unfinished-handlers", "unfinished-updates", "query-answers")
"""What a plan's ``allow`` may have."""

OPTIONS: Mapping[str, tuple[Callable[..., Any], frozenset[str]]] = {
    "client_options": (Client.__init__, frozenset({"self", "service_client", "namespace"})),
    "worker_options": (Worker.__init__, frozenset({"self", "client", "task_queue", "workflows"})),
    "start_options": (Client.start_workflow, frozenset({"self", "workflow", "arg", "args", "id", "task_queue"})),
}
"""Whose they are, and what the kit gives itself."""


class Checks:
    """Of the arguments of one plan."""

    def __init__(self, workflow: WorkflowDefinition) -> None:
        self._workflow = workflow
        self._cls = workflow.cls.__name__

    def wrong(self, what: str) -> BadPlan:
        """An error that names the workflow."""
        return BadPlan(f"workflow {self._workflow.name or self._cls!r} cannot be tested: {what}")

    def several(self, option: str, given: Any) -> tuple[Any, ...]:
        """A list, and not the one thing that should be in it."""
        if isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping, type)):
            return tuple(given)
        one = repr(given) if isinstance(given, str) else _shown(given)
        raise self.wrong(f"{option}= is {one}, and takes a list; write {option}=[{one}].")

    # -- stubs ---------------------------------------------------------------------------------------------------------

    def stubs(self, option: str, given: Any) -> Mapping[Any, Any]:
        """A mapping to stubs; ``None`` is looked at by whoever knows what it means there."""
        if not isinstance(given, Mapping):
            raise self.wrong(
                f"{option}= is {_shown(given)}, and takes a dictionary of stubs; write {option}={{name: returns(...)}}."
            )
        for key, stub in given.items():
            if not isinstance(stub, Stub) and not (stub is None and option == "children"):
                raise self.no_stub(f"{option}[{_shown(key)}]", stub)
        return given

    def no_stub(self, place: str, given: Any) -> BadPlan:
        return self.wrong(f"{place} is {_shown(given)}, which is no stub; {_instead(given)}.")

    def activity(self, target: Any) -> str:
        try:
            return activity_name(target)
        except ValueError as error:
            raise self.wrong(f"activities= has {_shown(target)}: {error}; or give its name, as text.") from None

    def fallback(self, given: Any) -> None:
        if given is not None and not callable(given):
            raise self.wrong(
                f"fallback= is {_shown(given)}, and takes a function from an activity's name to a stub; write "
                "fallback=lambda name: returns()."
            )

    # -- messages and arguments ----------------------------------------------------------------------------------------

    def no_message(self, option: str, given: Any, error: ValueError) -> BadPlan:
        known = next((h.function for h in self._workflow.handlers if h.name == given), None)
        instead = f"write {option}=[{known.__qualname__}]" if known is not None else f"{error}"
        return self.wrong(f"{option}= has {_shown(given)}, which is no handler; {instead}.")

    def count(self, whose: str, function: Callable[..., Any], sources: Sequence[Any], instead: str) -> None:
        """As many arguments as a function takes."""
        if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(function).parameters.values()):
            return
        takes = positional(function, skip_first=True)
        least = sum(1 for parameter in takes if parameter.default is parameter.empty)
        if not least <= len(sources) <= len(takes):
            most = f"{len(takes)} argument{'s' * (len(takes) != 1)}"
            number = most if least == len(takes) else f"{least} to {most}"
            raise self.wrong(f"{whose} takes {number}, and {len(sources)} would be given; {instead}.")

    # -- the rest ------------------------------------------------------------------------------------------------------

    def invariants(self, given: Any) -> tuple[Any, ...]:
        found = self.several("invariants", given)
        for invariant in found:
            if not callable(invariant):
                raise self.wrong(
                    f"invariants= has {_shown(invariant)}, and takes functions; write def holds(trace) -> bool."
                )
            call = getattr(invariant, "func", invariant)  # of functools.partial
            if any(_is_async(one) for one in (call, getattr(call, "__call__", None))):  # noqa: B004  # its own kind
                raise self.wrong(
                    f"invariant {_shown(invariant)} is asynchronous, and nobody waits for its answer; write def, not async def."
                )
            try:
                inspect.signature(invariant).bind(None)
            except TypeError:
                raise self.wrong(
                    f"invariant {_shown(invariant)} cannot be called with one argument; it is given the trace of a run."
                ) from None
            except ValueError:
                continue  # not written in Python: nobody knows
        return found

    def allow(self, given: Any) -> frozenset[str]:
        found = self.several("allow", given)
        for word in found:
            if word not in ALLOWANCES:
                near = difflib.get_close_matches(str(word), ALLOWANCES, 1)
                instead = f'write "{near[0]}"' if near else f"there are: {', '.join(ALLOWANCES)}"
                raise self.wrong(f"allow= has {word!r}, which is no rule to leave out; {instead}.")
        return frozenset(found)

    def options(self, option: str, given: Any) -> dict[str, Any]:
        """Arguments of somebody else's."""
        if not isinstance(given, Mapping):
            raise self.wrong(f"{option}= is {_shown(given)}, and takes a dictionary of arguments by name.")
        function, own = OPTIONS[option]
        known = [name for name in inspect.signature(function).parameters if name not in own]
        for name in given:
            if name in own:
                raise self.wrong(f"{option}= has {name!r}, which the kit itself gives; leave it out.")
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                instead = f"write {near[0]!r}" if near else f"there are: {', '.join(known)}"
                raise self.wrong(f"{option}= has {name!r}, which {function.__qualname__} does not take; {instead}.")
        return dict(given)


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _instead(given: Any) -> str:
    if given in (returns, may_fail, raises, times_out):
        return f"write {given.__name__}(...), with parentheses"
    if given is None:
        return "if it returns nothing, write returns()"
    if isinstance(given, FromType):
        return f"write returns(from_type({named(given)}))"
    if isinstance(given, st.SearchStrategy):
        return f"write returns({_shown(given)})"
    if isinstance(given, BaseException) or (isinstance(given, type) and issubclass(given, BaseException)):
        return f"write raises({_shown(given)})"
    if isinstance(given, type):
        return f"write returns(from_type({_shown(given)}))"
    if callable(given):
        return "it is never run; say what comes of it: returns(...), may_fail(...), raises(...) or times_out()"
    return f"write returns({_shown(given)})"


def _shown(value: Any) -> str:
    if isinstance(value, FromType):
        return f"from_type({named(value)})"
    name = getattr(value, "__qualname__", None)
    text = name if isinstance(name, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
