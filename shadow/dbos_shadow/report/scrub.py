"""What may be seen of a run: paths, names, numbers of steps; of values a keyed hash. Pure.

A report is read by more people than the payloads are meant for. So of every value, failure message and note it holds a
hash with a key that is in no report: equal values have equal hashes inside of one report, and without the key nobody can
try out what a value may have been. Values at paths that the user names (``activity charge: inputs[0].cents``, a glob) are
shown as they are.

What is shown is what names a thing, not what it holds: workflow types and ids, names of activities, signals and patches,
queues, options, statuses, and the keys of JSON objects that look like names: letters, digits, ``_`` and ``-``, no digit first.
A dictionary by customer has customers for keys: ``ada@example.com``, ``Ada Lovelace`` and ``4711`` are hashed, ``ada`` and
``customer-4711`` are not, since nothing tells them from a field's name.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from dbos_shadow.difference import pattern
from dbos_shadow.json_paths import type_name
from dbos_shadow.trace import Opaque, Value, canonical

__all__ = ["Scrubber", "Shown"]

HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is shown of one value: its text, or the hash that stands for it."""

    text: str | None = None
    """JSON of a value at an allowed path; plain text of what is no payload: a status, an option, a label."""
    hash: str | None = None
    type: str = ""
    """JSON's type of a hashed value, or the encoding of one that is not JSON."""

    @property
    def short(self) -> str:
        return self.text if self.text is not None else f"{self.type} #{self.hash}".lstrip()


# What of a step, arrival or outcome is no payload, by the part of the path behind the label. A fairness key may be a name.
_STRUCTURE = re.compile(
    r"step|arrival|where|target|duration_ms|workflow_type|queue|status|how|retry_state|options\.(?!fairness_key)\w+"
    r"|failure(?:\.cause)*(?:\.kind|\.non_retryable|\.retry_state|\.next_retry_delay_ms|\.category)?|failed\.[A-Za-z_][A-Za-z0-9_.]*"
)
_FAILURE_TYPE = re.compile(r"failure(?:\.cause)*\.type")
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")
_TOKEN = re.compile(r'(\.?[A-Za-z_][A-Za-z0-9_-]*|\[(?:\d+|\*)\])|\[("(?:[^"\\]|\\.)*")\]')


class Scrubber:
    """Scrubs for one report.

    Args:
        key: secret of the report; at least 16 bytes. Two reports with the same key have the same hashes.
        values: globs (``*`` for anything) of patterns of paths whose values are shown.
        ids: show workflow and run ids, and ids that workflow code chose; else they are hashed as well.
        notes: show what a judgement says in words; it may quote values.

    Raises:
        ValueError: the key is too short to keep a secret.
    """

    def __init__(self, key: bytes, *, values: Iterable[str] = (), ids: bool = True, notes: bool = False) -> None:
        if len(key) < 16:
            raise ValueError(
                f"The key of a report has {len(key)} bytes; give 16 or more, from secrets.token_bytes(32)."
            )
        self._key = key
        self._globs = [re.compile(".*".join(map(re.escape, glob.split("*")))) for glob in values]
        self._ids = ids
        self._notes = notes
        self.path = lru_cache(maxsize=4096)(self._path)

    def hash(self, text: str | bytes) -> str:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, data, "sha256").hex()[:HASH_LENGTH]

    def allowed(self, path: str) -> bool:
        """Has the user named this path, or a pattern that it has?"""
        if not self._globs:
            return False
        names = {path, pattern(path)}
        return any(glob.fullmatch(name) for glob in self._globs for name in names)

    def text(self, path: str, text: str | None) -> Shown | None:
        """One side of a difference: JSON text at a path. None: nothing is there."""
        if text is None:
            return None
        inside = path.partition(": ")[2]
        value = json.loads(text)
        if _STRUCTURE.fullmatch(inside):
            return Shown(text=value if isinstance(value, str) else text)
        if inside in ("id", "run_id") and isinstance(value, str):
            return Shown(text=self.id(value))
        if _FAILURE_TYPE.fullmatch(inside) and isinstance(value, str) and _TYPE_NAME.fullmatch(value):
            return Shown(text=value)
        if self.allowed(path):
            return Shown(text=text, type=type_name(value))
        return Shown(hash=self.hash(text), type=type_name(value))

    def value(self, path: str, value: Value) -> Shown:
        """A whole argument or result."""
        if isinstance(value, Opaque):
            return Shown(hash=self.hash(value.data), type=value.encoding)
        if self.allowed(path):
            return Shown(text=value.text, type=type_name(value.value))
        return Shown(hash=self.hash(value.text), type=type_name(value.value))

    @property
    def shows_ids(self) -> bool:
        return self._ids

    def id(self, text: str) -> str:
        return text if self._ids or not text else f"#{self.hash(canonical(text))}"

    def note(self, text: str) -> Shown | None:
        if not text:
            return None
        return Shown(text=text) if self._notes else Shown(hash=self.hash(text), type="note")

    def _path(self, path: str) -> str:
        """A path whose object keys are shown as far as they look like identifiers."""
        label, colon, inside = path.partition(": ")
        found: list[str] = []
        at = 0
        while at < len(inside):
            match = _TOKEN.match(inside, at)
            if match is None:  # a name that is none, its beginning included
                begun = found.pop() if found else ""
                found.append(f"{'.' if begun.startswith('.') else ''}#{self.hash(begun + inside[at:])}")
                break
            plain, quoted = match.groups()
            found.append(plain or f"[#{self.hash(quoted)}]")
            at = match.end()
        return label + colon + "".join(found)
