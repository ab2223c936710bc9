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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Reference:
    """Where another process finds a plan: an attribute of a module that has ``plan``, or is one, or is a workflow class
    whose plan is inferred; or a mapping, with one of these at ``key``."""

    module: str
    file: str | None
    attribute: str
    key: str | None = None


def reference_to(tested: Any, module: str) -> Reference | None:
    """The attribute of a module that leads to this plan. None: there is none."""
    found = sys.modules.get(module)
    for name, value in list(vars(found).items()) if found is not None else ():
        if value is tested or getattr(value, "plan", None) is tested:
            return Reference(module, getattr(found, "__file__", None), name)
    return None


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
    found = getattr(module_at(reference.module, reference.file), reference.attribute)
    if reference.key is not None:
        found = found[reference.key]
    if isinstance(found, type):
        from dbos_shadow.determinism.inferred import inferred

        return inferred(found, sandboxed=False)  # which asks for the same, and begins sooner
    return getattr(found, "plan", found)


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
