"""Writes the published schemas: ``python -m dbos_shadow.report.schemas docs/schemas``."""

from __future__ import annotations

import sys
from pathlib import Path

from dbos_shadow.report.jsonl import lines_schema_text
from dbos_shadow.report.model import schema_text

__all__ = ["write_schemas"]


def write_schemas(folder: Path) -> None:
    """Write both schemas into a folder."""
    (folder / "shadow-report.schema.json").write_text(schema_text())
    (folder / "shadow-report-line.schema.json").write_text(lines_schema_text())


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas"))
