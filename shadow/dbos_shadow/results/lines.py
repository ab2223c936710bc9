"""LineResults: results in a file of JSON lines. It only grows while it is written, so a killed session loses half a line.

A line is a campaign, a summary, or a result. Of several lines about the same run the last one counts.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dbos_core.errors import StoreUnavailable, Theirs
from dbos_core.results import CampaignRow, Known, ResultRow

__all__ = ["LineResults", "NotResults"]


class NotResults(Theirs):
    """A file that was given for results holds something else."""

    code = "DC403"


class LineResults:
    """The promises of ``results.Results`` on a file. Memory: a key and an offset for each run."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """
        Args:
            path: made, with its folder, where it is missing.
            create: make it; else a missing one is an error.
        """
        self.path = path
        self._create = create
        self._file: IO[bytes] | None = None
        self._campaigns: dict[str, CampaignRow] = {}
        self._at: dict[str, dict[tuple[str, str], int]] = {}
        """By configuration and run: where its last line begins."""

    async def open(self) -> None:
        """Read what is there.

        Raises:
            NotResults: it is not a file of results.
            StoreUnavailable: it cannot be opened or read.
        """
        if not self.path.exists() and not self._create:
            raise NotResults(f"There are no results in {self.path}: no such file. Judge some runs first.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab+")
            self._index()
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be used for results: {error.strerror}.") from error

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    async def begin(self, campaign: CampaignRow) -> None:
        known = self._campaigns.get(campaign.config)
        if known is not None:
            campaign = dataclasses.replace(campaign, begun_ms=known.begun_ms, summary=known.summary)
            if campaign == known:
                return
        self._append([{"campaign": dataclasses.asdict(campaign)}])
        self._campaigns[campaign.config] = campaign
        self._at.setdefault(campaign.config, {})

    async def known(self, config: str) -> Mapping[tuple[str, str], Known]:
        found = {}
        for key, offset in self._at.get(config, {}).items():
            row = self._row(offset)
            found[key] = Known(row.verdict, row.reason, row.shape, row.events, row.digest)
        return found

    async def add(self, config: str, rows: Sequence[ResultRow]) -> None:
        offsets = self._append([{"config": config, "result": dataclasses.asdict(row)} for row in rows])
        self._at.setdefault(config, {}).update(zip([row.key for row in rows], offsets, strict=True))

    async def summarise(self, config: str, summary: str) -> None:
        self._append([{"config": config, "summary": summary}])
        if (known := self._campaigns.get(config)) is not None:
            self._campaigns[config] = dataclasses.replace(known, summary=summary)

    async def read(self, config: str) -> AsyncIterator[ResultRow]:
        for row in self._rows(config):
            yield row

    async def campaigns(self, name: str | None = None) -> Sequence[CampaignRow]:
        found = [row for row in self._campaigns.values() if name is None or row.name == name]
        return sorted(found, key=lambda row: (-row.begun_ms, row.config))

    async def purge(self, *, before_ms: int, config: str | None = None) -> int:
        """As promised; the file is written anew, and replaced as a whole."""
        kept: list[dict[str, Any]] = []
        deleted = 0
        for campaign in sorted(self._campaigns.values(), key=lambda row: (row.begun_ms, row.config)):
            asked = config in (None, campaign.config)
            rows = list(self._rows(campaign.config))
            left = [row for row in rows if not asked or row.at_ms >= before_ms]
            deleted += len(rows) - len(left)
            if left or not asked or campaign.begun_ms >= before_ms:
                kept.append({"campaign": dataclasses.asdict(campaign)})
                kept += [{"config": campaign.config, "result": dataclasses.asdict(row)} for row in left]
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.write_bytes(b"".join(_line(entry) for entry in kept))
        await self.close()
        fresh.replace(self.path)
        await self.open()
        return deleted

    # -- the file --------------------------------------------------------------------------------------------------

    def _index(self) -> None:
        file = self._opened()
        file.seek(0)
        self._campaigns.clear()
        self._at.clear()
        offset = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                # A session was killed while it wrote this.
                file.truncate(offset)
                break
            try:
                self._take(json.loads(line), offset)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise NotResults(
                    f"{self.path}, line {number}, is not a result ({type(error).__name__}). Choose another file; nothing "
                    "was written to this one."
                ) from error
            offset += len(line)
        file.seek(0, os.SEEK_END)

    def _take(self, entry: dict[str, Any], offset: int) -> None:
        if "campaign" in entry:
            campaign = CampaignRow(**entry["campaign"])
            self._campaigns[campaign.config] = campaign
            self._at.setdefault(campaign.config, {})
        elif "summary" in entry:
            self._campaigns[entry["config"]] = dataclasses.replace(
                self._campaigns[entry["config"]], summary=entry["summary"]
            )
        else:
            self._at[entry["config"]][ResultRow(**entry["result"]).key] = offset

    def _append(self, entries: Sequence[dict[str, Any]]) -> list[int]:
        file = self._opened()
        offset = file.seek(0, os.SEEK_END)
        offsets = []
        lines = []
        for entry in entries:
            offsets.append(offset)
            lines.append(_line(entry))
            offset += len(lines[-1])
        try:
            file.write(b"".join(lines))
            file.flush()
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be written: {error.strerror}.") from error
        return offsets

    def _rows(self, config: str) -> Iterator[ResultRow]:
        sorted_keys = sorted((self._row(at).workflow_type, key) for key, at in self._at.get(config, {}).items())
        for _, key in sorted_keys:
            yield self._row(self._at[config][key])

    def _row(self, offset: int) -> ResultRow:
        file = self._opened()
        file.seek(offset)
        return ResultRow(**json.loads(file.readline())["result"])

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise StoreUnavailable(f"The results in {self.path} are closed. Open them first.")
        return self._file


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
