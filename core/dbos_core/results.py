"""Results: verdicts that somebody wants to keep, and where. The kernel itself never asks; tools above it do.

A result is a handful of columns by which it is found and counted, and a document that only its writer understands. Results
belong to a *campaign*: one configuration, by its hash. The same run judged again under the same configuration replaces
what was said of it before; under another it is another result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CampaignRow", "Known", "ReadableResults", "ResultRow", "Results"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignRow:
    """One configuration under which runs are judged."""

    config: str
    """Hash of all that decides a verdict."""
    name: str = ""
    """Campaigns of one name are versions of the same thing: a report may show how it went on."""
    settings: str = "{}"
    """JSON: what the hash was made of, and what was selected. For people."""
    summary: str = "{}"
    """JSON: what its last session has counted."""
    begun_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """What is said of one run."""

    workflow_type: str
    workflow_id: str
    run_id: str
    verdict: str
    reason: str = ""
    shape: str = ""
    events: int = 0
    """Length of the history that was judged: of an open run it grows."""
    at_ms: int = 0
    document: str = "{}"
    digest: str = ""
    """Of what was judged, where it was all at hand before: of a file it may be another one the next time."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.workflow_id, self.run_id)


@dataclass(frozen=True, slots=True)
class Known:
    """What a campaign needs to know of a run that was judged before."""

    verdict: str
    reason: str
    shape: str
    events: int
    digest: str = ""


class ReadableResults(Protocol):
    """What a report needs. Every call may raise ``StoreUnavailable``."""

    def read(self, config: str) -> AsyncIterator[ResultRow]:
        """All results, by workflow type, workflow id and run id."""

    async def campaigns(self, name: str | None = None) -> Sequence[CampaignRow]:
        """The latest first; of one name, or all."""


class Results(ReadableResults, Protocol):
    """A place for results. Whoever writes has it alone: two sessions of one campaign at once would judge runs twice, and
    lose nothing.

    Every call may raise ``StoreUnavailable``.
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def begin(self, campaign: CampaignRow) -> None:
        """Say what the results are of that follow. Name and settings are replaced if the configuration is known."""

    async def known(self, config: str) -> Mapping[tuple[str, str], Known]:
        """(workflow id, run id) → what was said of it."""

    async def add(self, config: str, rows: Sequence[ResultRow]) -> None:
        """Keep results, durably when it returns."""

    async def summarise(self, config: str, summary: str) -> None:
        """Keep what a session has counted."""

    async def purge(self, *, before_ms: int, config: str | None = None) -> int:
        """Delete results older than that, of one campaign or of all, and campaigns that have none left. How many results."""
