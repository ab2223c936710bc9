"""Values for payloads: a short list for each strategy, the boring one first, so that a decision can name one.

Lists are the same in every process (with the same release of Hypothesis), which is what lets a list of decisions stand for
a whole schedule.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from dbos_shadow.determinism.drawn import POOL, drawn, sampled, simplest
from dbos_shadow.determinism.edges import edges


@dataclasses.dataclass(frozen=True, slots=True)
class FromType:
    """Values of a type, found from its hints: the simplest first, then extremes, then what Hypothesis makes of it."""

    type: Any


def from_type(type_: Any) -> FromType:
    """Values of a type: the simplest, empty, huge, unicode, None where it may be, and others.

    What the type refuses (by a ``__post_init__``, a validator, its constructor) is left out. A strategy that is registered
    with Hypothesis (``hypothesis.strategies.register_type_strategy``) is taken.

    Args:
        type_: anything that has type hints: a dataclass, a pydantic model, a typed dict, a named tuple, ``list[int]``,
            ``str | None``.
    """
    return FromType(type_)


@dataclasses.dataclass(frozen=True, slots=True)
class OrAbsent:
    """An argument that need not be given: first it is not."""

    source: FromType


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()
"""In a list of values: the argument is not given, nor is any after it."""

Source = FromType | OrAbsent | st.SearchStrategy[Any]


class NoValues(ValueError):
    """Nothing can be a payload; the text says why, and whoever asked knows for what."""


def _always(value: Any, type_: Any) -> bool:
    return True


def pool(source: Any, keep: Callable[[Any], bool], comes_back: Callable[[Any, Any], bool] = _always) -> list[Any]:
    """The values of a strategy, of ``from_type``, or of a constant.

    Args:
        source: where they come from.
        keep: False for a value that cannot travel (the user's converter refuses it).
        comes_back: False for a value of a type that cannot be read as one. Where none can, that is for a schedule to show.

    Raises:
        NoValues: there are none, or not one can travel.
    """
    if isinstance(source, OrAbsent):
        return [ABSENT, *pool(source.source, keep, comes_back)]
    try:
        if isinstance(source, FromType):
            found = [simplest(source.type), *edges(source.type), *drawn(source.type)]
        else:
            found = sampled(source) if isinstance(source, st.SearchStrategy) else [source]
    except Exception as error:  # of Hypothesis, or of the user's code
        raise NoValues(f"none can be made up of {named(source)} ({_short(error)})") from None
    kept: list[Any] = []
    seen: set[str] = set()
    for value in found:
        name = repr(value)
        if name in seen or not keep(value):
            continue
        seen.add(name)
        kept.append(value)
    if isinstance(source, FromType):
        kept = [value for value in kept if comes_back(value, source.type)] or kept
    if not kept:
        raise NoValues(f"no value of {named(source)} can be a payload: the data converter refuses them all")
    return kept[:POOL]


def named(source: Any) -> str:
    """What values come from, in a reader's words."""
    if isinstance(source, OrAbsent):
        return named(source.source)
    if not isinstance(source, FromType):
        text = repr(source)
        return text if len(text) <= 80 else f"{text[:79]}…"
    return source.type.__qualname__ if type(source.type) is type else str(source.type)


def _short(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def chosen(pools: Sequence[Sequence[Any]], choose: Callable[[int], int]) -> list[Any]:
    """Arguments: of each list the value that is chosen, up to the first one that is absent."""
    values: list[Any] = []
    for values_of_one in pools:
        value = values_of_one[choose(len(values_of_one))]
        if value is ABSENT:
            break
        values.append(value)
    return values


def of_parameters(function: Callable[..., Any], *, skip_first: bool) -> Sequence[FromType | OrAbsent]:
    """One source for each positional parameter, from the annotations. One with a default may be absent."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # annotations that only a type checker can resolve: any value will do
        hints = {}
    found: list[FromType | OrAbsent] = []
    for parameter in positional(function, skip_first=skip_first):
        source = FromType(hints.get(parameter.name, Any))
        found.append(source if parameter.default is parameter.empty else OrAbsent(source))
    return tuple(found)


def positional(function: Callable[..., Any], *, skip_first: bool) -> list[inspect.Parameter]:
    """Parameters that a payload may stand for, in order."""
    parameters = list(inspect.signature(function).parameters.values())[1 if skip_first else 0 :]
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
