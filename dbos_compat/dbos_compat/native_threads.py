"""The threads of temporalio's native core, at the end of the process.

Temporal's ``Replayer`` runs on the SDK's Rust core. Its threads hand their answers to Python and are, for an instant after
that, still about to give the interpreter's lock back. A process that ends in this very instant, on a machine with much to
do, is aborted by CPython: "Fatal Python error: PyGILState_Release". (Our own engine starts no such threads.)
"""

from __future__ import annotations

import atexit
import functools
import time

GRACE_S = 0.2
"""A thread that waits for the lock gets it within some five milliseconds, once nobody else keeps it."""


@functools.cache
def outlive_native_threads() -> None:
    """Whoever is going to use the native core in this process calls this before: the process then ends a moment later."""
    atexit.register(time.sleep, GRACE_S)
