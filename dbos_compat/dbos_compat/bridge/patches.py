"""Patches: what ``workflow.patched()`` and ``workflow.deprecate_patch()`` leave behind, and how far a replay may differ.

The SDK decides what ``patched()`` answers: live it says yes and asks for a marker; on replay it says yes when it was told
of the marker beforehand (``notify_has_patch``). Ours is the rest, by the rules of Temporal's core (temporal-seam §4.6):

* the markers of a journal row are announced in the first activation of that row, and of no earlier one;
* each marker brings the search attribute ``TemporalChangeVersion``, the sorted list of all patches of the run, until
  that list grows too long for an attribute;
* markers are not part of a row's digest. Between two commands that are, a recorded marker wants a patch of that name in
  the code, unless it was recorded as deprecated; a patch in the code wants nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivationJob

from dbos_compat.bridge.commands import UNCHECKED, Command
from dbos_compat.convert.payloads import dumps

_ATTRIBUTE_BYTES_MAX = 2048
"""A longer list is not written any more."""


class Patches:
    """The patches of one run, as far as its code has asked for them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[str] = set()

    def asked(self, command: Command) -> None:
        """The code asks for this patch: its marker's text is completed by the search attribute, if that has room."""
        self._known.add(command.message.patch_id)
        versions = sorted(self._known)
        text = dumps(versions)
        command.versions = versions if len(text) < _ATTRIBUTE_BYTES_MAX else None
        deprecated = ',"dep":true' if command.message.deprecated else ""
        upsert = f',"sa":{text}' if command.versions else ""
        command.written = f'{{"k":"patch","id":{dumps(command.message.patch_id)}{deprecated}{upsert}}}'


def announced(recorded: Iterable[Mapping[str, Any]]) -> list[WorkflowActivationJob]:
    """The jobs that tell a replay of the markers in the row it is about to repeat."""
    jobs = []
    for command in recorded:
        if command["k"] == "patch":
            job = WorkflowActivationJob()
            job.notify_has_patch.patch_id = command["id"]
            jobs.append(job)
    return jobs


def missing(recorded: Sequence[Mapping[str, Any]], commands: Sequence[Command]) -> tuple[str, str | None] | None:
    """The first recorded marker that the code does not follow any more, and the patch that came in its place.

    Both lists agree in everything that the digest covers, so they are compared gap by gap: between two commands that
    both have, the markers of one against the patches of the other, in their order.
    """
    if "patch" not in [c["k"] for c in recorded]:
        return None
    then = _gaps((c["k"] not in UNCHECKED, c) for c in recorded)
    now = _gaps((c.kind not in UNCHECKED, c) for c in commands)
    for markers, asked in zip_longest(then, now, fillvalue=()):
        names = [c.message.patch_id for c in asked if c.kind == "patch"]
        for marker in markers:
            if marker["k"] != "patch":
                continue
            if names and names[0] == marker["id"]:
                names.pop(0)
            elif not marker.get("dep"):
                return marker["id"], names[0] if names else None
    return None


def _gaps(commands: Iterable[tuple[bool, Any]]) -> Iterator[list[Any]]:
    """What stands before, between and after the commands that the digest covers."""
    gap: list[Any] = []
    for checked, command in commands:
        if checked:
            yield gap
            gap = []
        else:
            gap.append(command)
    yield gap
