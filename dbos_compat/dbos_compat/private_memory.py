"""What workflow instances leave behind in memory.

An instance that was torn down is one knot of cycles: its queries are bound to it, and the exceptions that ended its
coroutines hold their frames. Left to the cycle collector, which is told to look seldom, a process through which a
hundred thousand sleeping runs went would keep half a gigabyte of them. So the knot is cut here, and what was in it goes
at once.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

_DEFAULT_THRESHOLD = 2000 if sys.version_info >= (3, 13) else 700


def tune_collector() -> None:
    """Protobuf messages come and go by the thousand and none is part of a cycle: at the defaults the cycle collector
    takes a sixth of a workflow's cost. What is imported by now stays and is never looked at again; young objects are
    looked at less often, unless the program has set its own thresholds. The last generation still has its turn each
    1.4 million objects: the modules that the sandbox imports for each run are freed by nothing else."""
    gc.collect()
    gc.freeze()
    if gc.get_threshold()[0] == _DEFAULT_THRESHOLD:
        gc.set_threshold(_DEFAULT_THRESHOLD * 20, 20, 5)


def has_ended(instance: Any) -> bool:
    """True when no coroutine of the instance is left, so that there is nothing to tear down."""
    tasks = getattr(_unsandboxed(instance), "_tasks", None)
    return tasks is not None and not tasks


def take_apart(instance: Any) -> None:
    """Cut the cycles of an instance that has ended or was torn down; it cannot be used any more.

    What its last tasks may still say when they are freed (an exception that nobody asked for) it keeps to itself, as on
    Temporal, where an instance is always deleted by an eviction.
    """
    inner = _unsandboxed(instance)
    sandboxed = getattr(instance, "globals_and_locals", None)
    if sandboxed is not None:
        sandboxed.clear()
    if inner is not None:
        inner.__dict__ = {"_deleting": True}


def _unsandboxed(instance: Any) -> Any:
    """The instance itself, or the one that a sandbox holds; None: a runner that we do not know made it."""
    sandboxed = getattr(instance, "globals_and_locals", None)
    if sandboxed is not None:
        return getattr(sandboxed.get("__temporal_in_sandbox"), "instance", None)
    return instance if hasattr(instance, "_tasks") else None
