"""What temporalio knows of decorated classes and functions: their names, handlers and hints. Read, never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from temporalio.workflow import _definition, _handlers

from dbos_compat.sdk_release import Name, verify

_NAMES = (
    Name(activity._Definition, "from_callable", ("fn",)),
    Name(_definition._Definition, "from_class", ("cls",)),
    Name(_definition._Definition, "from_run_fn", ("fn",)),
    Name(_handlers._SignalDefinition, "from_fn", ("fn",)),
    Name(_handlers._QueryDefinition, "from_fn", ("fn",)),
)


@dataclass(frozen=True, slots=True)
class Handler:
    """A signal, update or query handler of a workflow class."""

    kind: str
    """signal, update, query"""
    name: str | None
    """None: dynamic, it takes whatever has no handler of its own."""
    function: Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDefinition:
    """A class with ``@workflow.defn``."""

    name: str | None
    """None: dynamic."""
    cls: type
    run: Callable[..., Any]
    handlers: tuple[Handler, ...] = field(default=())


def workflow_definition(target: Any) -> WorkflowDefinition:
    """Of a workflow class or its run method.

    Raises:
        ValueError: it is neither.
    """
    verify(_NAMES)
    found = _definition._Definition.from_class(target) if isinstance(target, type) else None
    if found is None and callable(target):
        found = _definition._Definition.from_run_fn(target)
    if found is None:
        name = getattr(target, "__qualname__", repr(target))
        raise ValueError(f"{name} is no workflow: neither a class with @workflow.defn nor its @workflow.run method")
    handlers = [
        *(Handler("signal", name, signal.fn) for name, signal in found.signals.items()),
        *(Handler("update", name, update.fn) for name, update in found.updates.items()),
        *(Handler("query", name, query.fn) for name, query in found.queries.items()),
    ]
    return WorkflowDefinition(name=found.name, cls=found.cls, run=found.run_fn, handlers=tuple(handlers))


def handler(target: Any) -> Handler:
    """Of a method with ``@workflow.signal``, ``@workflow.update`` or ``@workflow.query``.

    Raises:
        ValueError: it is none.
    """
    signal = _handlers._SignalDefinition.from_fn(target)
    if signal is not None:
        return Handler("signal", signal.name, signal.fn)
    query = _handlers._QueryDefinition.from_fn(target)
    if query is not None:
        return Handler("query", query.name, query.fn)
    update = getattr(target, "_defn", None)
    if isinstance(update, _handlers._UpdateDefinition):
        return Handler("update", update.name, update.fn)
    name = getattr(target, "__qualname__", repr(target))
    raise ValueError(f"{name} handles no message: it has none of @workflow.signal, @workflow.update, @workflow.query")


def activity_name(target: Any) -> str:
    """The type of an activity: of a function or method with ``@activity.defn``, or of a name.

    Raises:
        ValueError: it is none.
    """
    if isinstance(target, str):
        return target
    found = activity._Definition.from_callable(target)
    if found is None or found.name is None:
        name = getattr(target, "__qualname__", repr(target))
        raise ValueError(f"{name} is no activity with a name of its own: it lacks @activity.defn, or is dynamic")
    return found.name
