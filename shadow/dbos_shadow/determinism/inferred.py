"""Inferred: a plan for a workflow of which only the code is known. Stubs come from the annotations."""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from temporalio.exceptions import ApplicationError

from dbos_compat.private_definitions import WorkflowDefinition, activity_name, workflow_definition
from dbos_core.errors import DBOSCompatError
from dbos_shadow.determinism.plan import Inferred, Plan, plan
from dbos_shadow.determinism.stubs import Stub, may_fail, raises, returns
from dbos_shadow.determinism.values import from_type


class NoWorkflow(DBOSCompatError):
    """There is no such workflow, or nothing to import."""

    code = "DC702"


def inferred(workflow: Any, **options: Any) -> Plan:
    """A plan that needs nothing but the class.

    It is started with values of its annotations; every handler that it has is called; activities and children return
    values of their annotations, or fail. An activity of which no function is found answers ``None``.

    Args:
        workflow: the class, or its run method.
        options: of :func:`~dbos_shadow.determinism.determinism_test`, where more is known.
    """
    definition = workflow_definition(workflow)
    module = sys.modules[definition.cls.__module__]
    known = dict(_activities(module))
    if options.get("then") is not None:
        changed = sys.modules[workflow_definition(options["then"]).cls.__module__]
        known = {**dict(_activities(changed)), **known}
    given: dict[str, Any] = {
        kind: [h.function for h in definition.handlers if h.name and h.kind == kind.removesuffix("s")]
        for kind in ("signals", "updates")
    }
    given["queries"] = [h.function for h in definition.handlers if h.name and h.kind == "query"]
    others = [other for other in _workflows(module) if other.name not in (None, definition.name)]
    given["children"] = {child.name: _stub(child.run) for child in others}
    given["fallback"] = lambda name: known.get(name) or returns(None)
    made = plan(definition.cls, **{**given, **options})
    return replace(made, inferred=Inferred(made, options))


def _stub(function: Callable[..., Any]) -> Stub:
    """What a function may answer, by its annotation."""
    try:
        hint = typing.get_type_hints(function).get("return", type(None))
    except Exception:
        hint = type(None)  # its annotations cannot be resolved at run time
    failed = ApplicationError("failed", type="Failed")
    if hint in (typing.NoReturn, typing.Never):
        return raises(failed)
    value = None if hint is type(None) or hint is None else from_type(hint)
    return may_fail(failed, value=value)


def _activities(module: ModuleType) -> Iterator[tuple[str, Stub]]:
    for function in _found(module):
        try:
            yield activity_name(function), _stub(function)
        except ValueError:
            continue


def _workflows(module: ModuleType) -> Iterator[WorkflowDefinition]:
    for value in list(vars(module).values()):
        if isinstance(value, type) and "__temporal_workflow_definition" in vars(value):
            yield workflow_definition(value)


def _found(module: ModuleType) -> Iterator[Any]:
    """Functions and methods that a workflow of this module can name: its own, imported ones, and those of modules beside."""
    family = module.__name__.partition(".")[0]
    modules = [module]
    modules += [
        value
        for value in vars(module).values()
        if isinstance(value, ModuleType) and (value.__name__.partition(".")[0] == family or _beside(value, module))
    ]
    for each in modules:
        for value in list(vars(each).values()):
            if inspect.isfunction(value):
                yield value
            elif isinstance(value, type) and value.__module__ != "builtins":
                yield from (member for member in vars(value).values() if inspect.isfunction(member))


def _beside(one: ModuleType, other: ModuleType) -> bool:
    files = getattr(one, "__file__", None), getattr(other, "__file__", None)
    return all(isinstance(file, str) for file in files) and len({str(Path(str(file)).parent) for file in files}) == 1


def workflows_of(module: ModuleType) -> list[type]:
    """The workflow classes that a module defines, in its order; dynamic ones have no name to start them by."""
    return [d.cls for d in _workflows(module) if d.cls.__module__ == module.__name__ and d.name]


def imported(path: Path) -> ModuleType:
    """A file as a module, under the name by which workflow code in it can be imported again by the sandbox.

    Raises:
        NoWorkflow: it cannot be imported.
    """
    path = path.resolve()
    folders = sorted((Path(entry or ".").resolve() for entry in sys.path), key=lambda p: -len(p.parts))
    for folder in folders:
        if path.is_relative_to(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            if all(part.isidentifier() for part in parts) and "site-packages" not in parts:
                return _import(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    sys.path.insert(0, str(path.parent))
    return _import(path.stem)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise NoWorkflow(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def workflow_at(place: str) -> type:
    """The class at ``module:Workflow``, or ``path/to/file.py:Workflow``; without a name the only one there.

    Raises:
        NoWorkflow: there is none, or more than one.
    """
    where, _, name = place.rpartition(":") if ":" in place else (place, "", "")
    if not where.endswith(".py") and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module = imported(Path(where)) if where.endswith(".py") else _import(where)
    found = {cls.__name__: cls for cls in workflows_of(module)}
    if name in found:
        return found[name]
    if not name and len(found) == 1:
        return next(iter(found.values()))
    has = ", ".join(found) or "none"
    raise NoWorkflow(
        f"{where} has no workflow {name!r}. It has: {has}." if name else f"which workflow? {where} has: {has}."
    )
