"""Dependencies point down, and the core works where Temporal is not installed."""

from __future__ import annotations

import subprocess
import sys

from tests.fixtures.process import REPOSITORY, Spawn
from tests.tree.sources import module_names

LINT = """
import sys
from importlinter.cli import lint_imports_command

sys.argv = ["lint-imports", *sys.argv[1:]]
lint_imports_command()
"""

WITHOUT_TEMPORAL = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("temporalio", "google", "dbos_compat", "dbos_shadow", "dbos"):
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Absent())
for name in sys.argv[1:]:
    importlib.import_module(name)
print("all there")
"""


def test_the_contracts_of_pyproject_hold() -> None:
    lint = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_core_imports_where_temporal_is_not_installed(spawn: Spawn) -> None:
    core = [name for name in module_names() if name.split(".")[0] == "dbos_core"]
    program = spawn("-c", WITHOUT_TEMPORAL, *core, name="core alone")
    program.wait_for_line("all there")
    assert program.wait() == 0
