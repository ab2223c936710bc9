"""Drawn: what Hypothesis makes of a type or a strategy: always the same values, the simplest first.

Hypothesis takes a type at its annotations. Where that fails (a constructor that refuses some values, generic classes,
``Any``) the strategy is built here, part by part, and values that the type refuses are dropped.
"""

from __future__ import annotations

import collections.abc
import contextlib
import random
import typing
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dbos_shadow.determinism.shapes import SCALARS, UNIONS, Shape, plainly, scalar_of, shape_of

POOL = 24
DEEPEST = 3
"""Types in types, where they go on for ever."""


def drawn(type_: Any, count: int = POOL) -> list[Any]:
    """Values of a type.

    Raises:
        Exception: whatever Hypothesis, or the type, says of it.
    """
    if not _asks_too_much(type_, set()):
        with contextlib.suppress(Exception):  # of the type's own code, or Hypothesis does not know what to do
            return sampled(st.from_type(type_), count)
    return sampled(_careful(type_), count)


def simplest(type_: Any) -> Any:
    """The first value of a type.

    Raises:
        Exception: there is none.
    """
    if not _asks_too_much(type_, set()):
        with contextlib.suppress(Exception):
            return sampled(st.from_type(type_), 1)[0]
    with _undisturbed():
        how = settings(
            max_examples=500,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        return hypothesis.find(_careful(type_), lambda _: True, settings=how, random=random.Random(0))


def sampled(strategy: st.SearchStrategy[Any], count: int = POOL) -> list[Any]:
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

    with _undisturbed():
        collect()
    return found[:count]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    with warnings.catch_warnings(), _no_constants():
        warnings.simplefilter("ignore")
        yield


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


def _asks_too_much(type_: Any, seen: set[Any]) -> bool:
    """Is ``Any`` in it, or a type variable, for which Hypothesis has no values or the wrong ones?"""
    if type_ is Any or (type_ is object and not seen):
        return True
    if any(_asks_too_much(arg, seen) for arg in typing.get_args(type_)):
        return True
    shape = shape_of(type_)
    if shape is None or type_ in seen:
        return False
    seen.add(type_)
    return shape.generic or any(_asks_too_much(part.type, seen) for part in shape.parts.values())


# -- part by part ----------------------------------------------------------------------------------------------------------

_ANYTHING = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
_WORDS = st.sampled_from(
    ("a", "1", "A1", "EUR", "a@example.com", "https://example.com/", "2000-01-01", "2000-01-01T00:00:00Z", "127.0.0.1")
)
"""What texts often have to be like."""
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_ABSENT, _REFUSED = object(), object()


def _careful(type_: Any, depth: int = 0, picky: bool = False) -> st.SearchStrategy[Any]:
    """``picky``: somebody will refuse most texts."""
    type_ = plainly(type_)
    if type_ is Any or type_ is object:
        return _ANYTHING
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Annotated:
        return _constrained(type_, depth, picky)
    if origin in UNIONS:
        return st.one_of([_careful(arg, depth, picky) for arg in args])
    if args and origin in _LISTS:
        return _few(_careful(args[0], depth + 1, picky))
    if args and origin in (set, frozenset, collections.abc.Set):
        make = frozenset if origin is frozenset else set
        return _made(make, _few(_careful(args[0], depth + 1, picky)))
    if args and origin in (dict, collections.abc.Mapping, collections.abc.MutableMapping):
        key, value = (_careful(arg, depth + 1, picky) for arg in args)
        return st.builds(dict) if key.is_empty or value.is_empty else st.dictionaries(key, value, max_size=3)
    if args and origin is tuple:
        if args[-1] is not ...:
            return st.tuples(*(_careful(arg, depth, picky) for arg in args))
        return _few(_careful(args[0], depth + 1, picky)).map(tuple)
    if type_ is str and picky:
        return st.text() | _WORDS
    scalar = scalar_of(type_)
    if scalar is not None:
        return _made(type_, _careful(scalar, depth, picky=True))
    shape = shape_of(type_)
    if shape is not None:
        return st.nothing() if depth > DEEPEST else _shaped(shape, depth)
    known = st.from_type(type_)
    return known | _WORDS if picky and isinstance(type_, type) and type_ not in _PLAIN else known


def _few(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.builds(list) if of.is_empty else st.lists(of, max_size=3)


_PLAIN = frozenset({*SCALARS, bool, type(None)})


def _constrained(type_: Any, depth: int, picky: bool) -> st.SearchStrategy[Any]:
    inner, metadata = type_.__origin__, type_.__metadata__
    patterns = [pattern for one in metadata if isinstance(pattern := getattr(one, "pattern", None), str)]
    if patterns:
        return st.from_regex(patterns[0])
    strategy = st.from_type(type_)
    if _is_plain(inner):
        with contextlib.suppress(Exception), _undisturbed():
            strategy.validate()
            return strategy
    return _careful(inner, depth, picky)


def _is_plain(type_: Any) -> bool:
    """Hypothesis does it well, constraints included."""
    type_ = plainly(type_)
    if args := typing.get_args(type_):
        return all(arg is ... or _is_plain(arg) for arg in args)
    return type_ is not Any and shape_of(type_) is None and scalar_of(type_) is None


def _shaped(shape: Shape, depth: int) -> st.SearchStrategy[Any]:
    parts = {}
    for name, part in shape.parts.items():
        strategy = _careful(part.type, depth + 1, shape.picky)
        parts[name] = st.just(_ABSENT) | strategy if part.may_lack else strategy
    if not shape.picky and not any(part.may_lack for part in shape.parts.values()):
        return st.builds(shape.make, **parts)

    def make(values: dict[str, Any]) -> Any:
        return shape.make(**{name: value for name, value in values.items() if value is not _ABSENT})

    return _made(make, st.fixed_dictionaries(parts))


def _made(make: Callable[[Any], Any], of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Without what it refuses."""

    def made(value: Any) -> Any:
        try:
            return make(value)
        except Exception:  # a type may refuse by any error
            return _REFUSED

    return of.map(made).filter(lambda value: value is not _REFUSED)
