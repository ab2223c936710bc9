"""The stock ``dbos`` command of DBOS 3.4, asked about our workflows on the same database."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from examples.checkout.demo.stage import DemoFailed

RUN_ITS_MAIN = "import sys; from dbos.cli.cli import app; sys.argv[0] = 'dbos'; app()"


async def dbos(url: str, folder: Path, *words: str) -> Any:
    """What ``dbos workflow ...`` prints, as JSON."""
    if importlib.util.find_spec("dbos") is None:
        raise DemoFailed("the stock dbos package is not installed: pip install 'dbos-compat[embedded,dev]'")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUN_ITS_MAIN,
        "workflow",
        *words,
        "--sys-db-url",
        url,
        cwd=folder,  # it would read a dbos-config.yaml that lies about
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise DemoFailed(f"dbos workflow {' '.join(words)} ended with {process.returncode}:\n{err.decode()}")
    return json.loads(out.decode().strip().splitlines()[-1])
