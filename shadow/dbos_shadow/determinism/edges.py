"""Edges: values at the edges of a type, one edge at a time: empty, huge, unicode, None."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from typing import Any

from dbos_shadow.determinism.drawn import simplest
from dbos_shadow.determinism.shapes import UNIONS, Shape, plainly, scalar_of, shape_of

HUGE = 10_000
"""Characters of a huge text."""

_TEXTS = ("", "é\u2028\U0001f600", "x" * HUGE, "\x00")
_NUMBERS = (0, -1, 2**53 + 1)


def edges(type_: Any) -> list[Any]:
    """Those that the type takes."""
    return _edges(type_, 0, {})


def _edges(type_: Any, depth: int, firsts: dict[Any, Any]) -> list[Any]:
    """``firsts``: what the simplest value of a type is made from, where that is known."""
    type_ = plainly(type_)
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in UNIONS:
        return [value for arg in args for value in _edges(arg, depth, firsts)]
    if origin is typing.Annotated and depth:
        return _edges(args[0], depth, firsts)  # what it is a part of may say no
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
        inner = _edges(args[0], depth + 1, firsts) if args else []
        return [[], *([value] for value in inner), *([[inner[0]] * 100] if inner else [])]
    if origin is dict:
        return [{}]
    scalar = scalar_of(type_)
    if scalar is not None:
        return list(_taken(type_, _edges(scalar, depth, firsts)))
    shape = shape_of(type_)
    return [] if shape is None else _of_shape(type_, shape, depth, firsts)


def _of_shape(type_: Any, shape: Shape, depth: int, firsts: dict[Any, Any]) -> list[Any]:
    try:
        if type_ not in firsts:
            firsts[type_] = shape.taken(simplest(type_))
        first = firsts[type_]
    except Exception:  # there is none, or it does not keep what it was made from
        return []
    made: list[Any] = []
    for name, part in shape.parts.items():
        values = _edges(part.type, depth + 1, firsts)
        made += _taken(lambda value, name=name: shape.make(**{**first, name: value}), values)  # type: ignore[misc]
    return made


def _taken(make: Callable[[Any], Any], values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        try:
            yield make(value)
        except Exception:  # the type refuses it, as it may
            continue
