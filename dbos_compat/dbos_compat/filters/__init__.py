"""Temporal's list filter: text → tree (``dbos_core.search``).

``lexer`` makes tokens, ``parser`` reads the grammar, ``values`` checks operators and literals against the field's type,
``fields`` knows the fields. Every refusal is a :class:`BadFilter` with the text that Temporal's server gives.
"""

from __future__ import annotations

from dbos_compat.filters.lexer import BadFilter
from dbos_compat.filters.parser import parse

__all__ = ["BadFilter", "parse"]
