"""Loading: what a user names as ``module:attribute`` on the command line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from temporalio.converter import DataConverter

from dbos_compat.private_workbench import is_workflow
from dbos_core.errors import Theirs
from dbos_shadow.names import NameMap

__all__ = ["CannotLoad", "load", "load_converter", "load_names", "load_options", "load_workflows"]


class CannotLoad(Theirs):
    """Something that was named as ``module:attribute`` is not there, or is something else."""

    code = "DC404"


def load(name: str) -> Any:
    """The object that ``module:attribute`` names; without the attribute the module. The working directory counts.

    Raises:
        CannotLoad: there is no such module or attribute.
    """
    module_name, _, path = name.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        missing = f" (it imports {error.name}, which is not there)" if error.name not in (None, module_name) else ""
        raise CannotLoad(
            f"There is no module {module_name!r} to be imported from here{missing}. Write module:attribute, as Python "
            "imports it, and start where your tests do."
        ) from error
    except Exception as error:
        raise CannotLoad(
            f"The module {module_name!r} fails when it is imported: {type(error).__name__}: {error}"
        ) from error
    for attribute in filter(None, path.split(".")):
        if not hasattr(found, attribute):
            raise CannotLoad(f"{name!r}: {module_name!r} has no {path!r}.")
        found = getattr(found, attribute)
    return found


def load_workflows(names: Iterable[str]) -> list[type]:
    """Workflow classes: of a module all that it defines or imports, of an attribute a class or a list of them.

    Raises:
        CannotLoad: a name leads nowhere, or to something that is no workflow.
    """
    found: dict[type, None] = {}
    for name in names:
        target = load(name)
        if isinstance(target, ModuleType):
            classes = [value for value in vars(target).values() if is_workflow(value)]
            if not classes:
                raise CannotLoad(f"The module {name!r} has no class with @workflow.defn.")
        else:
            classes = [target] if isinstance(target, type) else _listed(name, target)
        for one in classes:
            if not is_workflow(one):
                raise CannotLoad(f"{name!r}: {getattr(one, '__qualname__', one)!r} has no @workflow.defn.")
            found[one] = None
    if not found:
        raise CannotLoad("No workflows were named. Give --workflows module, or module:attribute.")
    return list(found)


def _listed(name: str, target: Any) -> list[Any]:
    if callable(target):
        target = _called(name, target)
    if not isinstance(target, (list, tuple, set, frozenset)):
        raise CannotLoad(f"{name!r} is a {type(target).__name__}. A workflow class, or a list of them, is wanted.")
    return list(target)


def load_converter(name: str | None) -> DataConverter:
    """A data converter, or what a function of that name returns; without a name temporalio's default.

    Raises:
        CannotLoad: it is something else.
    """
    if name is None:
        return DataConverter.default
    found = load(name)
    if callable(found) and not isinstance(found, DataConverter):
        found = _called(name, found)
    if not isinstance(found, DataConverter):
        raise CannotLoad(f"{name!r} is a {type(found).__name__}, not a temporalio.converter.DataConverter.")
    return found


def load_names(name: str | None) -> NameMap:
    """A map of names: from a YAML file, or a ``NameMap`` or a mapping in Python.

    Raises:
        CannotLoad: there is none.
        BadNames: it cannot be understood.
    """
    if name is None:
        return NameMap()
    if name.endswith((".yaml", ".yml")):
        try:
            return NameMap.from_file(name)
        except OSError as error:
            raise CannotLoad(f"The map of names in {name} cannot be read: {error.strerror}.") from error
    found = load(name)
    return found if isinstance(found, NameMap) else NameMap.of(found)


def load_options(name: str | None) -> dict[str, Any]:
    """A mapping (options of the worker, stubs), or what a function of that name returns.

    Raises:
        CannotLoad: it is something else.
    """
    if name is None:
        return {}
    found = load(name)
    if callable(found):
        found = _called(name, found)
    if not isinstance(found, Mapping):
        raise CannotLoad(f"{name!r} is a {type(found).__name__}; a dictionary is wanted.")
    return dict(found)


def _called(name: str, function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        raise CannotLoad(
            f"{name!r} fails when it is called without arguments: {type(error).__name__}: {error}"
        ) from error
