"""Run one block of a document: ``python -m tests.docs.run_block FILE``. Its top level may ``await``."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from pathlib import Path


async def main(path: Path) -> None:
    code = compile(path.read_text(), str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, {"__name__": "__main__"})
    if inspect.isawaitable(result):
        await result


if __name__ == "__main__":
    sys.path.insert(0, "")
    asyncio.run(main(Path(sys.argv[1])))
