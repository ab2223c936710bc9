"""The search attributes that were added, as one worker knows them: it must not ask the database in each task.

They are read when the worker begins, and again when a value was refused by them: the task is tried again anyway, and by
then an attribute that somebody has removed or added anew has the type that it has now. Until a restart a worker takes
any value for an attribute that was added after it began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel


class AddedAttributes:
    """``types``: by name."""

    __slots__ = ("_kernel", "_looking", "types")

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel
        self._looking = False
        self.types: dict[str, str] = {}

    async def load(self) -> None:
        if self._kernel is not None:
            self.types = await self._kernel.store.attribute_types()

    def doubted(self) -> None:
        """A value was refused: are they still what they were?"""
        if self._kernel is not None and not self._looking:
            self._looking = True
            self._kernel.spawn(self._look(), "read the search attributes that were added")

    async def _look(self) -> None:
        try:
            await self.load()
        finally:
            self._looking = False
