"""Temporal's list filter: text → tree (``dbos_core.search``).

``lexer`` makes tokens, ``syntax`` reads the grammar, ``meaning`` makes the query of it, ``values`` checks operators and
literals against the type of the field, ``fields`` knows the names that Temporal itself has. Every refusal is a
:class:`BadFilter` with the text that Temporal's server gives.
"""

from __future__ import annotations

from dbos_compat.filters.lexer import BadFilter
from dbos_compat.filters.meaning import parse

__all__ = ["BadFilter", "parse"]
