"""Groups of options: a dataclass whose fields are options, so that commands which have options in common name them once.

Typer reads the options of a command off its parameters, one by one. A command with groups takes dataclasses instead:

.. code-block:: python

    @dataclass(frozen=True)
    class Target:
        url: Annotated[str | None, typer.Option("--url")] = None
        namespace: Annotated[str, typer.Option("--namespace")] = "default"

    @app.command()
    @grouped
    def count(*, target: Target, as_json: Json = False) -> None: ...
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, get_type_hints

__all__ = ["grouped"]

R = TypeVar("R")


def grouped(command: Callable[..., R]) -> Callable[..., R]:
    """A command with options for parameters, out of one that takes groups of them.

    A parameter whose annotation is a dataclass becomes its fields, at its place; a field may be a group again. Defaults are
    those of the dataclass, or of the instance that is the parameter's own default.

    Raises:
        ValueError: two options have the same name.
    """
    hints = get_type_hints(command, include_extras=True)
    taken = inspect.signature(command).parameters
    options = [option for name, one in taken.items() for option in _options(name, hints[name], one.default)]

    @functools.wraps(command)
    def flat(**given: Any) -> R:
        return command(**{name: _made(name, hints[name], given) for name in taken})

    flat.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    flat.__annotations__ = {option.name: option.annotation for option in options}
    return flat


def _options(name: str, annotation: Any, default: Any) -> Iterator[inspect.Parameter]:
    if not _is_group(annotation):
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        return
    hints = get_type_hints(annotation, include_extras=True)
    for field in dataclasses.fields(annotation):
        own = field.default if field.default is not dataclasses.MISSING else inspect.Parameter.empty
        given = own if default is inspect.Parameter.empty else getattr(default, field.name)
        yield from _options(field.name, hints[field.name], given)


def _made(name: str, annotation: Any, given: Mapping[str, Any]) -> Any:
    if not _is_group(annotation):
        return given[name]
    hints = get_type_hints(annotation, include_extras=True)
    return annotation(
        **{field.name: _made(field.name, hints[field.name], given) for field in dataclasses.fields(annotation)}
    )


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
