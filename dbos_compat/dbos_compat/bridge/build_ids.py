"""Build ids: which build of the code took which task, as ``workflow.info().get_current_build_id()`` tells user code.

A task taken by the same build as the one before says nothing of it in its journal record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbos_compat.convert.payloads import dumps


class BuildId:
    """The build of one run's newest task."""

    __slots__ = ("_journalled", "current")

    def __init__(self) -> None:
        self.current = ""
        self._journalled = ""

    def replayed(self, record: Mapping[str, Any]) -> None:
        """The task of this record is taken again: as by the build that took it first."""
        self.current = self._journalled = record.get("bid", self._journalled)

    def field(self) -> str:
        """What the record of the current task has to say."""
        if self.current == self._journalled:
            return ""
        self._journalled = self.current
        return f'"bid":{dumps(self.current)},'


def build_id_of(strategy: Any) -> str:
    """Of a worker, by the SDK's description of its versioning."""
    version = getattr(strategy, "version", None)
    if version is not None:
        return str(version.build_id)
    return str(getattr(strategy, "build_id_no_versioning", ""))
