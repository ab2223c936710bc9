"""Values for payloads: a short list for each strategy, the boring one first, so that a decision can name one.

Lists are the same in every process (with the same release of Hypothesis), which is what lets a list of decisions stand for
a whole schedule.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import enum
import inspect
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

POOL = 24
HUGE = 10_000
"""Characters of a huge text."""


@dataclasses.dataclass(frozen=True, slots=True)
class FromType:
    """Values of a type, found from its hints: the simplest first, then extremes, then what Hypothesis makes of it."""

    type: Any


def from_type(type_: Any) -> FromType:
    """Values of a type: the simplest, empty, huge, unicode, None where it may be, and others.

    Args:
        type_: anything that has type hints: a dataclass, a pydantic model, ``list[int]``, ``str | None``.
    """
    return FromType(type_)


Source = FromType | st.SearchStrategy[Any]


def pool(source: Any, keep: Callable[[Any], bool]) -> list[Any]:
    """The values of a strategy, of ``from_type``, or of a constant.

    Args:
        source: where they come from.
        keep: False for a value that cannot travel (the user's converter refuses it).

    Raises:
        ValueError: not one value can travel.
    """
    if isinstance(source, FromType):
        found = [*_extremes(source.type), *_sampled(_strategy(source.type))]
        simplest = _sampled(_strategy(source.type), 1)
        found = [*simplest, *found]
    elif isinstance(source, st.SearchStrategy):
        found = _sampled(source)
    else:
        return [source]
    kept: list[Any] = []
    seen: set[str] = set()
    for value in found:
        name = repr(value)
        if name in seen or not keep(value):
            continue
        seen.add(name)
        kept.append(value)
        if len(kept) == POOL:
            break
    if not kept:
        raise ValueError(f"no value of {source!r} can be a payload: the data converter refuses them all")
    return kept


_ANYTHING = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)


def _strategy(type_: Any) -> st.SearchStrategy[Any]:
    """As Hypothesis does it, but that it knows no values of ``Any``, which may be anywhere in a type."""
    if type_ is Any or type_ is object:
        return _ANYTHING
    if not _has_any(type_, set()):
        return st.from_type(type_)
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_strategy(arg) for arg in args])
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        hints = typing.get_type_hints(type_)
        fields = [f for f in dataclasses.fields(type_) if f.init]
        return st.builds(type_, **{f.name: st.deferred(lambda hint=hints[f.name]: _strategy(hint)) for f in fields})  # type: ignore[misc]
    if origin in (list, collections.abc.Sequence, collections.abc.Iterable):
        return st.lists(_strategy(args[0]), max_size=3)
    if origin in (dict, collections.abc.Mapping):
        return st.dictionaries(_strategy(args[0]), _strategy(args[1]), max_size=3)
    if origin is tuple and args[-1:] != (...,):
        return st.tuples(*map(_strategy, args))
    return st.from_type(type_)


def _has_any(type_: Any, seen: set[Any]) -> bool:
    """Is ``Any`` in it?"""
    if type_ is Any:
        return True
    if args := typing.get_args(type_):
        return any(_has_any(arg, seen) for arg in args)
    if not (isinstance(type_, type) and dataclasses.is_dataclass(type_)) or type_ in seen:
        return False
    seen.add(type_)
    try:
        hints = typing.get_type_hints(type_)
    except Exception:
        return False  # nobody can resolve them
    return any(_has_any(hints[field.name], seen) for field in dataclasses.fields(type_))


def _sampled(strategy: st.SearchStrategy[Any], count: int = POOL) -> list[Any]:
    """What Hypothesis makes of a strategy: always the same, the simplest first."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    with warnings.catch_warnings(), _no_constants():
        warnings.simplefilter("ignore")
        collect()
    return found[:count]


@contextlib.contextmanager
def _no_constants() -> Iterator[None]:
    """Newer releases of Hypothesis also try constants that stand in the modules that are loaded. Another process has loaded
    others, and shall find the same values."""
    from hypothesis.internal.conjecture import providers

    found = getattr(providers, "_get_local_constants", None)
    cache = getattr(providers, "CONSTANTS_CACHE", None)
    if found is None or cache is None:
        yield
        return
    nothing: Any = getattr(providers, "Constants")()  # noqa: B009  # not in every release
    patched: Any = providers
    patched._get_local_constants, patched.CONSTANTS_CACHE = lambda: nothing, type(cache)(1024)
    try:
        yield
    finally:
        patched._get_local_constants, patched.CONSTANTS_CACHE = found, cache


_TEXTS = ("", "é\u2028\U0001f600", "x" * HUGE, "\x00")
_NUMBERS = (0, -1, 2**53 + 1)


def _extremes(type_: Any, depth: int = 0) -> list[Any]:
    """Values at the edges of a type, one edge at a time."""
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        return [value for arg in args for value in _extremes(arg, depth)]
    if origin is typing.Annotated or depth > 3:
        return []  # only a strategy knows what may be
    if type_ is type(None):
        return [None]
    if type_ is str:
        return list(_TEXTS)
    if type_ is int:
        return list(_NUMBERS)
    if type_ is bytes:
        return [b"", b"\x00\xff"]
    if origin is list:
        inner = _extremes(args[0], depth + 1) if args else []
        return [[], *([value] for value in inner), *([[inner[0]] * 100] if inner else [])]
    if origin is dict:
        return [{}]
    if isinstance(type_, type) and not issubclass(type_, (enum.Enum, datetime)) and dataclasses.is_dataclass(type_):
        return _of_dataclass(type_, depth)
    return []


def _of_dataclass(type_: type, depth: int) -> list[Any]:
    hints = typing.get_type_hints(type_)
    simplest = _sampled(_strategy(type_), 1)
    if not simplest:
        return []
    made = []
    for field in dataclasses.fields(type_):
        if not field.init:
            continue
        for value in _extremes(hints.get(field.name, Any), depth + 1):
            try:
                made.append(dataclasses.replace(simplest[0], **{field.name: value}))
            except (TypeError, ValueError):
                continue  # the type refuses it, as it may
    return made


def of_parameters(function: Callable[..., Any], *, skip_first: bool) -> Sequence[FromType]:
    """One source for each parameter without a default, from the annotations."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # annotations that only a type checker can resolve: any value will do
        hints = {}
    parameters = list(inspect.signature(function).parameters.values())[1 if skip_first else 0 :]
    return tuple(
        FromType(hints.get(p.name, Any))
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )
