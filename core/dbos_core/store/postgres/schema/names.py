"""Names: which two Postgres schemas a namespace lives in, and how a name gets into SQL text.

Namespace ``default`` is ``dbos`` (the DBOS system schema, so that stock tools find it without being told) and
``dbos_compat`` (our own). Any other namespace ``x`` is ``dbos_x`` and ``dbos_compat_x``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")
"""A namespace that can be read in its schema's name as it is: Postgres cuts identifiers at 63 bytes."""


def schema_names(namespace: str) -> tuple[str, str]:
    """The DBOS schema and our own schema of a namespace.

    A namespace that is no plain identifier (capitals, dashes, over 40 characters ...) gets a readable stem and a hash
    of the whole name, so that two namespaces never share a schema. Names that would look like our own schema of
    another namespace (``compat_...``) or like such a hashed name (``ns_...``) are hashed too.
    """
    if not namespace:
        raise ValueError("a namespace needs a name")
    if namespace == "default":
        return "dbos", "dbos_compat"
    if _PLAIN.fullmatch(namespace) and namespace != "compat" and not namespace.startswith(("compat_", "ns_")):
        part = namespace
    else:
        stem = re.sub(r"[^a-z0-9]+", "_", namespace.lower()).strip("_")[:24]
        part = "_".join(filter(None, ("ns", stem, hashlib.sha256(namespace.encode()).hexdigest()[:12])))
    return f"dbos_{part}", f"dbos_compat_{part}"


def quoted(identifier: str) -> str:
    """An identifier as SQL text. Raises for what Postgres would cut or refuse."""
    if not identifier or "\0" in identifier or len(identifier.encode()) > 63:
        raise ValueError(f"{identifier!r} cannot name a Postgres schema: it must have 1 to 63 bytes and no NUL")
    return '"' + identifier.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Schemas:
    """The two schemas, and SQL text filled with their names."""

    dbos: str
    own: str

    @classmethod
    def of(cls, namespace: str) -> Schemas:
        return cls(*schema_names(namespace))

    def fill(self, text: str) -> str:
        """Replace ``{dbos}`` and ``{own}`` by quoted names and ``{wake}`` by the start of our wake payloads."""
        wake = "'" + self.own.replace("'", "''") + "|'"
        return text.replace("{dbos}", quoted(self.dbos)).replace("{own}", quoted(self.own)).replace("{wake}", wake)
