"""Aside: work in a thread that can be abandoned, for what may never end and can be neither cancelled nor left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["aside"]

T = TypeVar("T")


def aside(work: Callable[[], T], name: str) -> Future[T]:
    """Do it in a daemon thread. Who waits no longer leaves the thread behind, asleep; the process ends without it.

    Args:
        work: may run an event loop of its own.
        name: of the thread.
    """
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # nobody can cancel it

    def run() -> None:
        try:
            found = work()
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer
