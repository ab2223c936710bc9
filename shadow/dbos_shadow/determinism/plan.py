"""Plan: what is tested: a workflow, what it is started with, what the world may do to it, and what must hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_compat.private_definitions import WorkflowDefinition, handler, workflow_definition
from dbos_shadow.determinism.checked import Checks
from dbos_shadow.determinism.stubs import Stub, returns
from dbos_shadow.determinism.values import FromType, of_parameters
from dbos_shadow.trace import Trace

Invariant = Callable[[Trace], object]
"""Holds unless it returns False or raises an exception, of whatever class. A plain function: nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How much is tried."""

    name: str
    schedules: int
    """At most so many."""
    seconds: float
    """And no new one after so long."""
    decisions: int = 60
    """Choices per schedule; what comes after is boring."""
    actions: int = 160
    """Things that the world does in one schedule."""
    replayer_every: int = 0
    """Give every so many-th history to Temporal's Replayer (0: only the last one)."""
    twice_every: int = 8
    """Run every so many-th schedule once more, live, in another instance."""
    hash_seeds: int = 1
    """Other hash seeds with which kept schedules are run in fresh processes (0: none)."""


FAST = Profile(name="fast", schedules=200, seconds=10)
CI = Profile(name="ci", schedules=1_000, seconds=60, replayer_every=200, hash_seeds=2)
NIGHTLY = Profile(name="nightly", schedules=10_000, seconds=900, replayer_every=500, hash_seeds=4)
PROFILES = {profile.name: profile for profile in (FAST, CI, NIGHTLY)}

PROFILE_VARIABLE = "DBOS_COMPAT_DETERMINISM_PROFILE"


def profile_of(profile: Profile | str | None) -> Profile:
    """A profile by name; without one, by the environment variable ``DBOS_COMPAT_DETERMINISM_PROFILE``, else fast.

    Raises:
        ValueError: there is none of that name.
    """
    if isinstance(profile, Profile):
        return profile
    name = profile or os.environ.get(PROFILE_VARIABLE) or FAST.name
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; there are: {', '.join(PROFILES)}")
    return PROFILES[name]


@dataclass(frozen=True, slots=True)
class Message:
    """A message that callers may send to the workflow."""

    kind: str
    """signal, update, query"""
    name: str
    args: tuple[Any, ...] = ()
    """Strategies, ``from_type(...)`` or constants."""
    at_most: int = 2
    """So often in one schedule."""
    expected: bool = True
    """A boring schedule sends it once, when no attempt is under way and before time passes."""
    target: Any = field(default=None, compare=False)


def sends(target: Any, *args: Any, at_most: int = 2, expected: bool = True) -> Message:
    """A message to the workflow, with values for its arguments.

    Args:
        target: a handler method of the workflow class.
        args: a strategy, ``from_type(...)`` or a constant for each argument. Without any, from the annotations;
            parameters with defaults are then left out, or given.
        at_most: how often it may come in one schedule.
        expected: on a plain day it comes once. False: it may come, and need not.
    """
    found = handler(target)
    if found.name is None:
        raise ValueError("a dynamic handler has no name to send to; use Message(kind, name, args)")
    sources = args or of_parameters(found.function, skip_first=True)
    return Message(found.kind, found.name, tuple(sources), at_most, expected, target)


@dataclass(frozen=True, slots=True)
class Inferred:
    """That a plan is inferred from a workflow class, and with what: so another process, or a test, can infer it, too."""

    made: Plan
    """As it was made. One that differs from it was changed since."""
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a schedule needs to know. Made by :func:`plan`."""

    definition: WorkflowDefinition
    args: tuple[Any, ...]
    activities: Mapping[str, Stub]
    children: Mapping[str, Stub]
    real_children: tuple[type, ...]
    messages: tuple[Message, ...]
    invariants: tuple[Invariant, ...]
    then: WorkflowDefinition | None
    fallback: Callable[[str], Stub | None] | None
    cancels: bool
    must_end: bool
    allow: frozenset[str]
    client_options: Mapping[str, Any]
    worker_options: Mapping[str, Any]
    start_options: Mapping[str, Any]
    inferred: Inferred | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.definition.name or self.definition.cls.__name__


def plan(
    run: Any,
    *,
    args: Any = None,
    activities: Mapping[Any, Stub] | None = None,
    signals: Sequence[Any] = (),
    updates: Sequence[Any] = (),
    queries: Sequence[Any] = (),
    children: Mapping[Any, Stub | None] | None = None,
    invariants: Sequence[Invariant] = (),
    then: Any = None,
    fallback: Callable[[str], Stub | None] | None = None,
    cancels: bool = True,
    must_end: bool = False,
    allow: Sequence[str] = (),
    sandboxed: bool = True,
    client_options: Mapping[str, Any] | None = None,
    worker_options: Mapping[str, Any] | None = None,
    start_options: Mapping[str, Any] | None = None,
) -> Plan:
    """What is to be tested. See :func:`~dbos_shadow.determinism.determinism_test` for the arguments.

    Raises:
        BadPlan: an argument is none that means anything.
        ValueError: ``run``, or ``then``, is no workflow.
    """
    definition = workflow_definition(run)
    checks = Checks(definition)
    if args is None:
        sources: tuple[Any, ...] = tuple(of_parameters(definition.run, skip_first=True))
    elif isinstance(args, (list, tuple)):
        sources = tuple(args)
    else:
        sources = (args,)
    one = f"; a list that is the only argument is written args=[{args!r}]" if isinstance(args, list) and args else ""
    checks.count("run", definition.run, sources, f"write args=[...], with one for each parameter{one}")
    messages = _messages(checks, signals=signals, updates=updates, queries=queries)
    checks.fallback(fallback)
    stubs, real = dict[str, Stub](), list[type]()
    for child, stub in checks.stubs("children", children or {}).items():
        if stub is None:
            real.append(workflow_definition(child).cls)
        else:
            stubs[child if isinstance(child, str) else workflow_definition(child).name or ""] = stub
    if definition.name in stubs:
        raise checks.wrong(
            f"children of type {definition.name!r} cannot be stubs: that is the workflow under test, whose code runs "
            f"for each run of that type; give None for it."
        )
    worker = checks.options("worker_options", worker_options or {})
    if not sandboxed:
        worker.setdefault("workflow_runner", UnsandboxedWorkflowRunner())
    takes_over = None if then is None else workflow_definition(then)
    if takes_over is not None and takes_over.name != definition.name:
        raise checks.wrong(
            f"{takes_over.cls.__name__} cannot take over: it is workflow {takes_over.name!r}, and what is tested is "
            f"{definition.name!r}; give it that name, by @workflow.defn(name=...)."
        )
    return Plan(
        definition=definition,
        args=sources,
        activities={checks.activity(a): stub for a, stub in checks.stubs("activities", activities or {}).items()},
        children=stubs,
        real_children=tuple(real),
        messages=messages,
        invariants=checks.invariants(invariants),
        then=takes_over,
        fallback=fallback,
        cancels=cancels,
        must_end=must_end,
        allow=checks.allow(allow),
        client_options=checks.options("client_options", client_options or {}),
        worker_options=worker,
        start_options=checks.options("start_options", start_options or {}),
    )


def _messages(checks: Checks, **options: Any) -> tuple[Message, ...]:
    found: list[Message] = []
    for option, given in options.items():
        for one in checks.several(option, given):
            try:
                message = one if isinstance(one, Message) else sends(one)
            except ValueError as error:
                raise checks.no_message(option, one, error) from None
            if message.target is not None:
                name = f"{message.kind} {message.name!r}"
                function, instead = (
                    handler(message.target).function,
                    "write sends(handler, ...), with one for each parameter",
                )
                checks.count(name, function, message.args, instead)
            found.append(message)
    return tuple(found)


__all__ = [
    "CI", "FAST", "FromType", "Invariant", "Message", "NIGHTLY", "PROFILES", "PROFILE_VARIABLE", "Plan", "Profile",
    "plan", "profile_of", "returns", "sends",
]  # fmt: skip
