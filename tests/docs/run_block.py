"""Run one block of a document: ``python -m tests.docs.run_block FILE [--at-once]``. Its top level may ``await``.

With ``--at-once`` the process ends as soon as the block has: the threads of Temporal's core, which nobody can wait for, now
and then bring down an interpreter that is being taken apart.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
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
    if "--at-once" in sys.argv:
        sys.stdout.flush()
        os._exit(0)
