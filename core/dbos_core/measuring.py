"""The history length of a run that was closed from outside (terminate, timeout), for listings.

An owner writes the length with the close. Who closes a run from outside does not know its journal; it is read, and the
length written, right afterwards. A crash in between leaves the length of when the run was last written as waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from dbos_core.commit import LoadedRun, RunStatus
from dbos_core.errors import StoreUnavailable

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

logger = logging.getLogger(__name__)

Measure = Callable[[LoadedRun], int]
"""The interpreter's idea of how long a history is."""


async def measure_closed(kernel: Kernel, workflow_uuid: str) -> None:
    """Write down how long the history of a closed run is. It is closed, whether this can be done now or not."""
    if kernel.measure is None:
        return
    try:
        loaded = await kernel.load(workflow_uuid)
        if loaded is not None and loaded.run.status is not RunStatus.RUNNING:
            await kernel.store.set_history_length(workflow_uuid, kernel.measure(loaded))
    except StoreUnavailable:
        logger.info("the history of the closed run %s could not be measured", workflow_uuid)
