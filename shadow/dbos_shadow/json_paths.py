"""Two JSON values → where they differ, path by path. Pure, and symmetric: what is missing one way is extra the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from dbos_shadow.difference import Kind
from dbos_shadow.trace import canonical

__all__ = ["Spot", "differing", "type_name"]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Spot(NamedTuple):
    """One place where two values differ; None: nothing is there."""

    path: str
    kind: Kind
    left: str | None
    right: str | None


def type_name(value: Any) -> str:
    """As JSON has it, but a number that was written with a point is another type: Python makes a float of it."""
    if value is None:
        return "null"
    return {bool: "boolean", int: "integer", float: "float", str: "string", list: "list"}.get(type(value), "object")


def differing(left: Any, right: Any, path: str = "$") -> Iterator[Spot]:
    """Every place where two values differ, the smallest one that holds the difference.

    A list with the same elements in another order is one spot, of kind ``order``.
    """
    if (kind := type_name(left)) != type_name(right):
        yield Spot(path, Kind.TYPE, canonical(left), canonical(right))
    elif kind == "object":
        yield from _objects(left, right, path)
    elif kind == "list":
        yield from _lists(left, right, path)
    elif (before := canonical(left)) != (after := canonical(right)):
        yield Spot(path, Kind.VALUE, before, after)


def _objects(left: dict[str, Any], right: dict[str, Any], path: str) -> Iterator[Spot]:
    for key in sorted(left.keys() | right.keys()):
        inside = f"{path}.{key}" if _WORD.fullmatch(key) else f"{path}[{canonical(key)}]"
        if key not in right:
            yield Spot(inside, Kind.MISSING, canonical(left[key]), None)
        elif key not in left:
            yield Spot(inside, Kind.EXTRA, None, canonical(right[key]))
        else:
            yield from differing(left[key], right[key], inside)


def _lists(left: list[Any], right: list[Any], path: str) -> Iterator[Spot]:
    before, after = [canonical(item) for item in left], [canonical(item) for item in right]
    if before == after:
        return
    if sorted(before) == sorted(after):
        yield Spot(path, Kind.ORDER, canonical(left), canonical(right))
        return
    for index in range(max(len(left), len(right))):
        inside = f"{path}[{index}]"
        if index >= len(right):
            yield Spot(inside, Kind.MISSING, before[index], None)
        elif index >= len(left):
            yield Spot(inside, Kind.EXTRA, None, after[index])
        else:
            yield from differing(left[index], right[index], inside)
