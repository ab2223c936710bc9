"""Silence: kernel and SDK say nothing while schedules are lived, for what they would warn of is what schedules are made of.

But an error that the kernel logs is one that it has swallowed, and no schedule may lead there: it is kept.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

_NAMES = ("dbos_core", "dbos_compat", "temporalio", "asyncio")

said: list[str] = []
"""Errors that the kernel has logged since the schedule began."""


class _Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        where = "" if error is None else f": {type(error).__name__}: {error}"
        said.append(f"{record.getMessage()}{where}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """For the length of the ``with`` block."""
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    keep = _Keep(logging.ERROR)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    kernel = loggers[0]
    kernel.setLevel(logging.ERROR)
    kernel.addHandler(keep)
    try:
        yield
    finally:
        kernel.removeHandler(keep)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
