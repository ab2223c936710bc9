"""The workflow sandbox of temporalio, made quicker where it does the same work again for each run and each activation.

What the sandbox allows and forbids stays its own. Three things cost most of its time and are replaced by equals:

* entering it nests a dozen context managers, one for each name that it overrides: here one loop sets them all;
* while it is entered anywhere in the process, ``isinstance`` and ``issubclass`` are Python calls through a thread-local
  for everybody: here the common case, nothing of it proxied, costs one comparison;
* each run imports the workflow's module again: here its file is looked for and unmarshalled once, and looked at (time
  and size) each time.

Everything here is optional: where a release of temporalio keeps these names elsewhere, the sandbox stays as it is.
"""

from __future__ import annotations

import builtins
import functools
import importlib.abc
import importlib.machinery
import logging
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from temporalio.worker.workflow_sandbox import _importer, _restrictions, _runner

logger = logging.getLogger("dbos_compat")

_NAMES: tuple[tuple[Any, str], ...] = (
    (_runner._Instance, "_run_code"),
    (_importer.Importer, "applied"),
    (_importer.Importer, "current_importer"),
    (_importer.Importer, "_thread_local_current"),
    (_importer.Importer, "_builtins_restricted"),
    (_importer, "_get_thread_local_builtin"),
    (_importer, "_thread_local_sys_modules"),
    (_importer, "_thread_local_import"),
    (_importer, "_ThreadLocalOverride"),
    (_restrictions, "_RestrictedProxy"),
)


def install() -> None:
    """Make the sandbox quicker. Call once per process."""
    missing = [name for owner, name in _NAMES if not hasattr(owner, name)]
    if missing:
        logger.info("this release of temporalio has no %s: the workflow sandbox stays as slow as it is", missing)
        return
    _runner._Instance._run_code = _run_code  # type: ignore[method-assign]
    _importer.Importer.applied = _Applied.of  # type: ignore[method-assign,assignment]
    sys.meta_path.insert(0, _ModulesOfWorkflows())


# -- glue code ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _compiled(code: str) -> types.CodeType:
    return compile(code, "<string>", "exec")


def _run_code(self: Any, code: str, **extra_globals: Any) -> None:
    """The sandbox's own, except that its few lines of glue are compiled once and not on every activation."""
    _original_run_code(self, _compiled(code), **extra_globals)  # type: ignore[arg-type]


_original_run_code = _runner._Instance._run_code


# -- entering ----------------------------------------------------------------------------------------------------------


class _Applied:
    """``Importer.applied()``: while entered, this thread sees the importer's modules and builtins."""

    __slots__ = ("_before", "_importer", "_outer")

    def __init__(self, importer: Any) -> None:
        self._importer = importer

    @staticmethod
    def of(importer: Any) -> _Applied:
        return _Applied(importer)

    def __enter__(self) -> None:
        importer = self._importer
        here = _importer.Importer._thread_local_current.__dict__
        self._outer = here.get("importer")
        here["importer"] = importer
        before: list[Any] = []
        self._before = before
        for override, stand_in, owner, name, value in _overrides(importer):
            data = override.thread_local.__dict__
            before.append(data.get("data"))
            with override.applied_counter_lock:
                override.applied_counter += 1
                if getattr(owner, name) is not stand_in:
                    setattr(owner, name, stand_in)
            data["data"] = value

    def __exit__(self, *error: object) -> None:
        importer = self._importer
        for (override, _, owner, name, _), value in zip(_overrides(importer), self._before, strict=True):
            data = override.thread_local.__dict__
            if value is None:
                data.pop("data", None)
            else:
                data["data"] = value
            with override.applied_counter_lock:
                override.applied_counter -= 1
                if override.applied_counter == 0:
                    setattr(owner, name, override.orig)
        _importer.Importer._thread_local_current.__dict__["importer"] = self._outer


_Override = tuple[Any, Any, Any, str, Any]
"""The SDK's override, what stands on the owner meanwhile, the owner, its attribute, what this importer sees there."""


def _overrides(importer: Any) -> list[_Override]:
    known: list[_Override] | None = importer.__dict__.get("_dbos_compat_overrides")
    if known is None:
        modules, imports = _importer._thread_local_sys_modules, _importer._thread_local_import
        known = [
            (modules, modules, sys, "modules", importer.new_modules),
            (imports, imports, builtins, "__import__", importer.import_func),
            *(
                (override, _stand_in(name, override), builtins, name, restricted)
                for name, override, restricted in importer.restricted_builtins
            ),
        ]
        importer.__dict__["_dbos_compat_overrides"] = known
    return known


@functools.cache
def _stand_in(name: str, override: Any) -> Any:
    """What is put on ``builtins`` while a sandbox is entered in some thread."""
    if name not in ("isinstance", "issubclass"):
        return override
    original: Callable[[Any, Any], bool] = override.orig
    proxy = _restrictions._RestrictedProxy

    def quick(a: Any, b: Any, /, type_: Any = type, proxy: Any = proxy, original: Any = original) -> bool:
        if type_(a) is proxy or type_(b) is proxy:
            return bool(override(a, b))
        return bool(original(a, b))

    quick.__name__ = name
    return quick


# -- importing ---------------------------------------------------------------------------------------------------------


class _KnownCode(importlib.machinery.SourceFileLoader):
    """Loads a module from its file, the code object of which is kept."""

    code: types.CodeType | None = None

    def get_code(self, fullname: str) -> types.CodeType | None:
        if self.code is None:
            self.code = super().get_code(fullname)
        return self.code


class _Known:
    """A module's file as it was when it was found."""

    __slots__ = ("loader", "locations", "spec", "stamp")

    def __init__(self, spec: importlib.machinery.ModuleSpec, path: str) -> None:
        self.spec = spec
        self.loader = _KnownCode(spec.name, path)
        self.locations = spec.submodule_search_locations
        self.stamp = _stamp(path)


def _stamp(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size


class _ModulesOfWorkflows(importlib.abc.MetaPathFinder):
    """Finds again what a sandbox in this thread has imported before; elsewhere it finds nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], _Known] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if _importer.Importer.current_importer() is None:
            return None
        key = (fullname, tuple(sys.path if path is None else path))
        known = self._known.get(key)
        try:
            if known is None or _stamp(known.loader.path) != known.stamp:
                self._known.pop(key, None)
                known = self._look(fullname, path, target)
        except OSError:
            known = None
        if known is None:
            return None
        self._known[key] = known
        spec = importlib.machinery.ModuleSpec(fullname, known.loader, origin=known.spec.origin)
        spec.has_location = True
        spec.cached = known.spec.cached
        if known.locations is not None:
            spec.submodule_search_locations = list(known.locations)
        return spec

    def _look(self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None) -> _Known | None:
        """Ask the finders after us. Only what an ordinary one finds in a file is kept."""
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is None:
                continue
            if type(spec.loader) is not importlib.machinery.SourceFileLoader:
                return None
            return _Known(spec, spec.loader.path)
        return None
