"""Shards: results that several sessions have kept in files of their own, read as one. For a report; nothing is written.

A pipeline that judges histories on many machines keeps the file of each as an artifact, and makes one report of them all.
They belong together if they were made under one configuration: equal code, options and key.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from dbos_core.errors import Theirs
from dbos_core.results import CampaignRow, ResultRow
from dbos_shadow.results.lines import LineResults

__all__ = ["NotOneCampaign", "Shards"]

COUNTED = ("seen", "chosen", "known", "judged", "scouted")


class NotOneCampaign(Theirs):
    """Files of results have no configuration in common."""

    code = "DC406"


class Shards:
    """What ``ReadableResults`` promises, of several files.

    Memory: that of ``LineResults`` for each of them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts = [LineResults(path, create=False) for path in dict.fromkeys(paths)]

    async def open(self) -> None:
        """Read what is there.

        Raises:
            NotResults: a file is not there, or is not one of results.
            StoreUnavailable: a file cannot be read.
        """
        for part in self._parts:
            await part.open()

    async def close(self) -> None:
        for part in self._parts:
            await part.close()

    async def campaigns(self, name: str | None = None) -> Sequence[CampaignRow]:
        """Those that every file has, the latest first.

        Raises:
            NotOneCampaign: there is none.
        """
        of_files = [{row.config: row for row in await part.campaigns(name)} for part in self._parts]
        common = set.intersection(*map(set, of_files))
        if not common and name is None:
            told = "; ".join(
                f"{part.path} has {', '.join(rows) or 'none'}" for part, rows in zip(self._parts, of_files, strict=True)
            )
            raise NotOneCampaign(
                "These results were not made under one configuration, so they make no report together: "
                f"{told}. Judge all shards with the same code, options and --key-file."
            )
        found = [_together([rows[config] for rows in of_files]) for config in common]
        return sorted(found, key=lambda row: (-row.begun_ms, row.config))

    async def read(self, config: str) -> AsyncIterator[ResultRow]:
        """All results, by workflow type, workflow id and run id. Of a run that several have judged, what was said last."""
        read = [[row async for row in part.read(config)] for part in self._parts]
        last: ResultRow | None = None
        for row in heapq.merge(*read, key=lambda row: (row.workflow_type, row.key, row.at_ms)):
            if last is not None and last.key != row.key:
                yield last
            last = row
        if last is not None:
            yield last


def _together(rows: Sequence[CampaignRow]) -> CampaignRow:
    """One campaign of its parts in several files."""
    every = [json.loads(row.settings) for row in rows]
    settings = dict(every[0])
    selections = dict.fromkeys(str(one["selection"]) for one in every if one.get("selection"))
    settings["selection"] = "; ".join(selections)
    if len({one.get("command") for one in every}) > 1:
        settings.pop("command", None)  # that of one shard names its own files
    return dataclasses.replace(
        rows[0],
        settings=json.dumps(settings),
        summary=json.dumps(_sum(json.loads(row.summary) for row in rows)),
        begun_ms=min(row.begun_ms for row in rows),
    )


def _sum(summaries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What their sessions have counted, added up."""
    counts: Counter[str] = Counter()
    passed_over: Counter[str] = Counter()
    strata: dict[tuple[str, str], Counter[str]] = {}
    for summary in summaries:
        counts.update({name: summary.get(name, 0) for name in COUNTED})
        passed_over.update(summary.get("passed_over", {}))
        for one in summary.get("strata", ()):
            key = (one["workflow_type"], one["name"])
            strata.setdefault(key, Counter()).update({name: one[name] for name in ("seen", "chosen", "judged")})
    return {
        **counts,
        "passed_over": dict(passed_over),
        "strata": [{"workflow_type": key[0], "name": key[1], **sums} for key, sums in sorted(strata.items())],
    }
