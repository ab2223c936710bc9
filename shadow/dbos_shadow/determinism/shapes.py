"""Shapes: what a type is made of, and how one makes a value of it: dataclasses, pydantic models, typed dicts, named tuples, and
classes whose constructor has annotations.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis.strategies._internal import types as registry


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One argument."""

    type: Any
    may_lack: bool
    """It has a default."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """Of a type."""

    parts: Mapping[str, Part]
    """By the names under which :attr:`make` takes them."""
    make: Callable[..., Any]
    """It may refuse what it is given."""
    taken: Callable[[Any], dict[str, Any]]
    """What a value was made from."""
    picky: bool = False
    """Code of the type looks at what it is given."""
    generic: bool = False
    """Type variables were filled in."""


def shape_of(type_: Any) -> Shape | None:
    """What a type is made of. None: it has no parts, or nobody can say which."""
    cls: Any = typing.get_origin(type_) or type_
    if not isinstance(cls, type) or _is_known(cls):
        return None
    try:
        if hasattr(cls, "__required_keys__"):
            return _of_typed_dict(type_, cls)
        if hasattr(cls, "model_fields") and hasattr(cls, "model_validate"):
            return _of_model(cls)
        if inspect.isfunction(inspect.getattr_static(cls, "__init__")) or hasattr(cls, "_fields"):
            return _of_constructor(type_, cls)
    except Exception:  # annotations that only a type checker can resolve, type variables of kinds that nobody needs
        return None
    return None


def _is_known(cls: type) -> bool:
    """Hypothesis has values of it, which a user may have registered, or it is Python's own."""
    if cls in getattr(registry, "_global_type_lookup", ()):
        return True
    own = cls.__module__.partition(".")[0] in sys.stdlib_module_names and cls.__module__ != "__main__"
    return own or issubclass(cls, enum.Enum) or inspect.isabstract(cls) or getattr(cls, "_is_protocol", False)


def _of_typed_dict(type_: Any, cls: type) -> Shape:
    parts = {}
    for name, hint in _hints(type_, cls).items():
        may_lack = name in getattr(cls, "__optional_keys__", ())
        while typing.get_origin(hint) in _QUALIFIERS:
            may_lack = _QUALIFIERS[typing.get_origin(hint)] or may_lack  # __optional_keys__ does not see quoted ones
            (hint,) = typing.get_args(hint)
        parts[name] = Part(hint, may_lack)
    return Shape(parts, dict, dict, generic=bool(_arguments(type_)))


_QUALIFIERS: dict[Any, bool] = {typing.NotRequired: True, typing.Required: False}
if hasattr(typing, "ReadOnly"):
    _QUALIFIERS[typing.ReadOnly] = False


def _of_model(cls: Any) -> Shape:
    if not getattr(cls, "__pydantic_complete__", True):
        cls.model_rebuild(raise_errors=False)
    parts, keys = {}, {}
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        alias = next(iter(getattr(alias, "choices", ())), alias)  # any of several will do
        keys[name] = key = alias if isinstance(alias, str) else name
        hint = field.annotation
        for more in field.metadata:
            hint = typing.Annotated[hint, more]
        parts[key] = Part(hint, not field.is_required())
    return Shape(
        parts,
        cls,
        lambda value: {keys[name]: getattr(value, name) for name in cls.model_fields if name in value.model_fields_set},
        picky=True,
    )


def _of_constructor(type_: Any, cls: Any) -> Shape | None:
    hints = _hints(type_, cls)
    if not dataclasses.is_dataclass(cls) and not hasattr(cls, "_fields"):
        hints = {**hints, **_hints(type_, cls, cls.__init__)}
    parts = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        may_lack = parameter.default is not parameter.empty
        if name not in hints and may_lack:
            continue
        hint = hints[name]
        parts[name] = Part(hint.type if isinstance(hint, dataclasses.InitVar) else hint, may_lack)
    picky = hasattr(cls, "__post_init__") or not (dataclasses.is_dataclass(cls) or hasattr(cls, "_fields"))
    return Shape(
        parts, cls, lambda value: {name: getattr(value, name) for name in parts}, picky, bool(_arguments(type_))
    )


def _hints(type_: Any, cls: type, of: Any = None) -> dict[str, Any]:
    """Annotations, with what stands for type variables."""
    known = _arguments(type_)
    hints = typing.get_type_hints(cls if of is None else of, include_extras=True)
    return {name: _filled(hint, known) for name, hint in hints.items()}


def _arguments(type_: Any) -> dict[Any, Any]:
    """By type variable: of ``Box[int]``, and of classes that are derived from it."""
    cls = typing.get_origin(type_) or type_
    found = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(type_), strict=False))
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        if isinstance(typing.get_origin(base) or base, type) and typing.get_origin(base) is not typing.Generic:
            found |= _arguments(_filled(base, found))
    return found


def _filled(hint: Any, known: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        if hint in known:
            return known[hint]
        if hint.__constraints__:
            return typing.Union[hint.__constraints__]  # noqa: UP007  # they are in a tuple
        return Any if hint.__bound__ is None else hint.__bound__
    variables = getattr(hint, "__parameters__", ())
    if variables and typing.get_args(hint):
        return hint[tuple(_filled(variable, known) for variable in variables)]
    return hint


def plainly(type_: Any) -> Any:
    """The type that a name stands for: of ``NewType``, and of the ``type`` statement."""
    while True:
        if isinstance(type_, typing.NewType):
            type_ = type_.__supertype__
        elif isinstance(type_, _ALIASES):
            type_ = getattr(type_, "__value__")  # noqa: B009  # not in every release of Python
        else:
            return type_


_ALIASES: Any = getattr(typing, "TypeAliasType", ())
UNIONS = (typing.Union, types.UnionType)
SCALARS: tuple[type, ...] = (str, bytes, int, float)


def scalar_of(type_: Any) -> type | None:
    """Of which of them it is a subclass of somebody's own."""
    if not isinstance(type_, type) or typing.get_origin(type_) is not None or _is_known(type_):
        return None
    return next((scalar for scalar in SCALARS if issubclass(type_, scalar)), None)
