"""Quiet: what the SDK, the engine and workflow code log while runs are replayed goes nowhere.

A log may quote payloads: the message of an exception, an argument that workflow code logs. It was said once, when the run
was recorded. ``DBOS_COMPAT_DEBUG=1`` lets it through.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

__all__ = ["DEBUG", "quiet"]

DEBUG = "DBOS_COMPAT_DEBUG"
LOGGERS = ("temporalio", "dbos_compat", "dbos_core", "dbos_shadow")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the logs of those who replay, as long as the block runs."""
    if os.environ.get(DEBUG):
        yield
        return
    nowhere = logging.NullHandler()
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.propagate for logger in loggers]
    for logger in [root, *loggers]:
        logger.addHandler(nowhere)  # else Python prints warnings where nobody has configured anything
    for logger in loggers:
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagates in zip(loggers, before, strict=True):
            logger.propagate = propagates
        for logger in [root, *loggers]:
            logger.removeHandler(nowhere)
