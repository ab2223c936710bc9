"""``python -m dbos_compat.cli`` is ``dbos-compat``."""

from __future__ import annotations

from dbos_compat.cli import main

main()
