"""Proposal: differences of a report → entries for the file of accepted differences, for a person to look at. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import date

from dbos_shadow.report.figures import counted
from dbos_shadow.report.model import GroupReport, Report

__all__ = ["entries", "proposed"]


def proposed(report: Report, fingerprints: Collection[str] = (), *, known: Collection[str] = ()) -> list[GroupReport]:
    """The differences to write entries for, in the report's order.

    Args:
        fingerprints: of these; empty: of all.
        known: fingerprints that have an entry already.

    Raises:
        ValueError: the report has no difference of such a fingerprint.
    """
    there = {group.fingerprint for group in report.groups}
    if missing := sorted(set(fingerprints) - there):
        raise ValueError(
            f"The report has no difference {', '.join(missing)}. It has {', '.join(sorted(there)) or 'none'}."
        )
    return [
        group
        for group in report.groups
        if group.fingerprint not in known and (not fingerprints or group.fingerprint in fingerprints)
    ]


def entries(groups: Collection[GroupReport], *, reason: str, owner: str, expires: date) -> str:
    """TOML that ``allow.read`` reads. An empty reason or owner it refuses: both have to be filled in."""
    return "\n".join(
        f"# {_line(_what(group))}\n"
        "[[accepted]]\n"
        f"fingerprint = {_quoted(group.fingerprint)}\n"
        f"reason = {_quoted(reason)}\n"
        f"owner = {_quoted(owner)}\n"
        f"expires = {expires.isoformat()}\n"
        for group in groups
    )


def _what(group: GroupReport) -> str:
    return f"{group.workflow_type}: {group.level} {group.title}, {counted(group.runs, 'run')}"


def _line(text: str) -> str:
    """What a comment may hold."""
    return re.sub(r"[\x00-\x1f\x7f\s]+", " ", text)


def _quoted(text: str) -> str:
    """A basic string of TOML: what JSON escapes is escaped there alike."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
