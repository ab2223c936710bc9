"""Elsewhere: schedules once more in a fresh process, with another hash seed. Started by :func:`run_elsewhere`.

Within one process a set of strings has one order. Only another process shows that a workflow's commands follow it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from dbos_shadow.determinism.plan import Plan

TIMEOUT_S = 300.0


Key = str | int


@dataclass(frozen=True, slots=True)
class Reference:
    """Where another process finds a plan: an attribute of a module that has ``plan``, or is one, or is a workflow class
    whose plan is inferred; or what has one of these in it."""

    module: str
    file: str | None
    attribute: str
    """With dots where it is an attribute of a class."""
    key: Key | tuple[Key, ...] = ()
    """Where the attribute has it: a key, or several, one inside the other."""
    options: dict[str, Any] | None = None
    """What the plan of a workflow class is inferred with: as JSON has it, and ``then`` as a reference."""

    @property
    def keys(self) -> tuple[Key, ...]:
        return (self.key,) if isinstance(self.key, Key) else tuple(self.key)

    @property
    def expression(self) -> str:
        """In Python, inside the module."""
        keys = (json.dumps(key, ensure_ascii=False) for key in self.keys)
        return self.attribute + "".join(f"[{key}]" for key in keys)


NOWHERE = (
    "other hash seeds were not tried: no attribute of a module leads to what is tested, so no other process finds it. Give "
    "it a name at the top of its module, or in a class, a dict or a list there"
)
DEPTH = 4
"""So deep in classes, dicts and lists something is looked for."""
LARGE = 10_000
"""Nobody keeps so many tests in one place."""
COMMANDS_ALIKE = frozenset({"sandboxed", "cancels", "must_end", "allow", "then", "invariants"})
"""Options of inferred plans that another process can be told, or need not be."""


def reference_to(tested: Any, *modules: str) -> Reference | None:
    """The attribute of one of these modules that leads to this plan, test or class, or what is inferred from a class.

    Returns:
        None if there is none.
    """
    for name in dict.fromkeys(modules):
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or (name == "__main__" and file is None):
            continue  # what was typed into a prompt is nowhere else
        if (found := _place(vars(module), name, tested)) is not None:
            return Reference(name, file, *found)
    return _to_inferred(tested)


def _to_inferred(tested: Any) -> Reference | None:
    known = tested.inferred if isinstance(tested, Plan) else None
    if known is None or tested != known.made or not known.options.keys() <= COMMANDS_ALIKE:
        return None  # it is not, or was changed since
    found = reference_to(tested.definition.cls, tested.definition.cls.__module__)
    options = {key: value for key, value in known.options.items() if key not in ("then", "invariants")}
    if "allow" in options:
        options["allow"] = sorted(options["allow"])
    if tested.then is not None:
        options["then"] = reference_to(tested.then.cls, tested.then.cls.__module__)
        if options["then"] is None:
            return None
    return None if found is None else replace(found, options=options)


def _place(names: Mapping[str, Any], module: str, tested: Any) -> tuple[str, tuple[Key, ...]] | None:
    """Where in a module it is: as near to its top as may be."""
    level: list[tuple[str, tuple[Key, ...], Any]] = [
        (name, (), value) for name, value in list(names.items()) if name != "__builtins__"
    ]
    seen: set[int] = set()
    for _ in range(DEPTH):
        inner: list[tuple[str, tuple[Key, ...], Any]] = []
        for attribute, keys, held in level:
            value = held.__func__ if isinstance(held, staticmethod) else held
            if _leads_to(value, tested):
                return attribute, keys
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, type) and not keys and value.__module__ == module:
                inner += [(f"{attribute}.{name}", (), member) for name, member in list(vars(value).items())]
            elif isinstance(value, dict) and len(value) < LARGE:
                inner += [(attribute, (*keys, k), member) for k, member in list(value.items()) if type(k) in (str, int)]
            elif isinstance(value, (list, tuple)) and len(value) < LARGE:
                inner += [(attribute, (*keys, i), member) for i, member in enumerate(value)]
        level = inner
    return None


def _leads_to(value: Any, tested: Any) -> bool:
    try:
        return value is tested or getattr(value, "plan", None) is tested
    except Exception:  # anything may be in a team's module
        return False


def callers() -> tuple[str, ...]:
    """The modules whose code is being run, the innermost first: one of them may keep what it has others make."""
    found: dict[str, None] = {}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(_OTHERS):
            break
        if not name.startswith(__package__):
            found[name] = None
        frame = frame.f_back
    return tuple(found)


_OTHERS = ("importlib", "_pytest", "pluggy", "asyncio", "threading")
"""Whoever is called by these is the outermost that may."""


def run_elsewhere(
    reference: Reference, lists: Sequence[Sequence[int]], hash_seed: int, actions: int
) -> list[list[str]]:
    """What each schedule asks for in a process with that hash seed: a text for each task.

    Raises:
        RuntimeError: the process could not do it; the message has its last words.
    """
    order = {"reference": asdict(reference), "lists": [list(d) for d in lists], "path": sys.path, "actions": actions}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dbos_shadow.determinism.elsewhere"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={
                **os.environ,
                "PYTHONHASHSEED": str(hash_seed),
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            },
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(
            f"a fresh process did not run {len(lists)} schedules within {TIMEOUT_S:.0f} s; use a profile with fewer "
            "actions, or with hash_seeds=0"
        ) from error
    if done.returncode:
        raise RuntimeError(f"a fresh process could not run the schedules: {done.stderr.strip()[-2000:]}")
    answer: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def module_at(name: str, file: str | None) -> ModuleType:
    """A module of another process, in this one: by its name, or where that is of no use here by its file."""
    if name == "__main__" or importlib.util.find_spec(name.partition(".")[0]) is None:
        assert file is not None, "what was typed into a prompt cannot be found by another process"
        return _from_file(Path(file))
    return importlib.import_module(name)


def _load(reference: Reference) -> Any:
    found = _found(reference)
    if isinstance(found, type):
        from dbos_shadow.determinism.inferred import inferred

        options = dict(reference.options or {})
        if "then" in options:
            options["then"] = _found(Reference(**options["then"]))
        return inferred(found, **options)
    return getattr(found, "plan", found)


def _found(reference: Reference) -> Any:
    found: Any = module_at(reference.module, reference.file)
    for name in reference.attribute.split("."):
        found = getattr(found, name)
    for key in reference.keys:
        found = found[key]
    return found


def _from_file(file: Path) -> ModuleType:
    """A script as a module, under a name by which the sandbox can import it again."""
    name = file.stem
    sys.path.insert(0, str(file.parent))
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is not None and found.origin is not None and Path(found.origin).resolve() == file.resolve():
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location("determinism_elsewhere", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["determinism_elsewhere"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    order = json.loads(sys.stdin.read())
    sys.path[:] = order["path"]
    from dbos_shadow.determinism.crew import Crew
    from dbos_shadow.determinism.decisions import Listed
    from dbos_shadow.determinism.run import live
    from dbos_shadow.determinism.schedule import Limits
    from dbos_shadow.determinism.silence import quiet

    crew = Crew(_load(Reference(**order["reference"])))
    try:
        with quiet():
            limits = Limits(actions=order["actions"])
            answers = [list(live(crew, Listed(d), limits=limits, whole=False).commands) for d in order["lists"]]
    finally:
        crew.close()
    sys.stdout.write("\n" + json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
