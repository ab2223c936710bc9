"""The test that the kit writes fails again in a fresh process: for every bug of the gallery, and every rule that a team's
code can break."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dbos_shadow.determinism import (
    DeterminismError,
    Kind,
    Lived,
    Plan,
    Profile,
    Rule,
    check_workflow,
    inferred,
    run_schedule,
)
from dbos_shadow.determinism.elsewhere import reference_to
from dbos_shadow.determinism.keep import Source, regression_test
from tests.fixtures.process import IMPORT_FOLDERS
from tests.shadow.determinism import rules
from tests.shadow.gallery.page import find, gallery
from tests.shadow.gallery.shapes import module_state

GALLERY = gallery()
FEW = Profile(name="few", schedules=60, seconds=5, hash_seeds=4)
NONE = Profile(name="none", schedules=1, seconds=5, hash_seeds=2)


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    """Modules of workflows that keep what they should not: as in a fresh process, for these tests and for others."""
    for remembered in (module_state._seen, rules.ended):
        remembered.clear()
    yield
    module_state._seen.clear()


def found_in(tested: Plan, *modules: str, **options: Any) -> DeterminismError:
    with pytest.raises(DeterminismError) as caught:
        check_workflow(tested, reference=reference_to(tested, *modules), **options)
    return caught.value


def run_written(folder: Path, text: str, **environment: str) -> str:
    """What pytest says of it, in a process of its own. The test has to fail by a rule."""
    (folder / "test_written_here.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_written_here.py"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, IMPORT_FOLDERS)),
            "DBOS_COMPAT_DETERMINISM_DIR": "",
            "PYTHONIOENCODING": "utf-8",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, text + done.stdout + done.stderr
    assert "1 failed" in done.stdout, text + done.stdout
    return done.stdout


def breaks(said: str, *any_of: Rule) -> bool:
    flat = " ".join(said.split())
    return any(f"breaks the rule that {rule.value}" in flat for rule in any_of)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", list(GALLERY))
def test_a_bug_of_the_gallery(name: str, tmp_path: Path) -> None:
    shape = GALLERY[name]
    error = find(shape)
    assert error is not None
    module = shape.broken.definition.cls.__module__
    written = regression_test(error, Source.of(shape.broken, module))
    assert "check_schedule(BROKEN, decisions=" in written
    assert breaks(run_written(tmp_path, f"from {module} import BROKEN\n{written}"), *shape.rules)


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("rule", "name", "options"),
    [
        (Rule.HISTORY, "History", {}),
        (Rule.REPLAY, "Replay", {"sandboxed": False}),
        (Rule.TASK_FAILS, "TaskFails", {"sandboxed": False, "allow": ["query-answers"]}),
        (Rule.QUERY, "Query", {}),
        (Rule.ENDS, "Ends", {"must_end": True, "cancels": False}),
    ],
    ids=str,
)
def test_a_rule(rule: Rule, name: str, options: Mapping[str, Any], tmp_path: Path) -> None:
    tested = inferred(getattr(rules, name), **options)
    error = found_in(tested, profile=FEW)
    assert error.rule is rule
    assert breaks(str(error), rule)
    assert rule.value in error.happenings[-1].text
    written = regression_test(error, Source.of_plan(tested))
    for option, value in options.items():
        assert f"{option}={value!r}".replace("'", '"') in written
    assert breaks(run_written(tmp_path, written), rule)


@pytest.mark.timeout(150)
def test_hash_seeds_whichever_a_process_has(tmp_path: Path) -> None:
    """Two orders are possible: the test has to name two seeds with different ones."""
    tested = inferred(rules.HashSeed, sandboxed=False)
    error = found_in(tested, profile=FEW)
    assert error.rule is Rule.HASH_SEED
    written = regression_test(error, Source.of_plan(tested))
    assert f"hash_seeds={list(error.hash_seeds)})" in written
    for seed in error.hash_seeds:
        assert breaks(run_written(tmp_path, written, PYTHONHASHSEED=str(seed)), Rule.HASH_SEED)


@pytest.mark.timeout(150)
def test_what_shows_itself_now_and_then(tmp_path: Path) -> None:
    tested = inferred(rules.EveryFifth, sandboxed=False)
    error = found_in(tested, profile=FEW)
    assert error.times > 5
    written = regression_test(error, Source.of_plan(tested))
    assert f"times={error.times})" in written
    assert breaks(run_written(tmp_path, written), error.rule)


@pytest.mark.timeout(150)
def test_what_only_a_second_run_shows(tmp_path: Path) -> None:
    tested, module = rules.same_commands, rules.__name__
    error = found_in(tested.plan, module, profile=FEW)
    assert error.rule is Rule.SAME_COMMANDS
    written = regression_test(error, Source.of(tested, module))
    assert breaks(run_written(tmp_path, f"from {module} import same_commands\n{written}"), Rule.SAME_COMMANDS)


@pytest.mark.timeout(150)
def test_one_that_a_class_keeps_in_a_dict(tmp_path: Path) -> None:
    tested, module = rules.InClass.by_name["stubs"][0], rules.__name__
    error = found_in(tested.plan, module, profile=FEW)
    assert error.rule is Rule.STUBS
    source = Source.of(tested, module)
    assert source.place == "below InClass in rules.py"
    written = regression_test(error, source)
    assert 'check_schedule(InClass.by_name["stubs"][0], decisions=' in written
    assert breaks(run_written(tmp_path, f"from {module} import InClass\n{written}"), Rule.STUBS)


# -- kept= ---------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("rule", [Rule.HASH_SEED, Rule.HISTORY, Rule.SAME_COMMANDS], ids=str)
def test_what_is_kept_is_judged_as_well(rule: Rule) -> None:
    tested, module = rules.LATER[rule.name], rules.__name__
    kept = next(list_ for k in range(1, 30) for list_ in ((0, k), (0, 0, k)) if signalled(run_schedule(tested, list_)))
    held = check_workflow(tested, profile=NONE, reference=reference_to(tested, module))
    assert held.schedules <= 2
    assert held.elsewhere
    error = found_in(tested, module, profile=NONE, kept=[kept])
    assert (error.rule, error.decisions) == (rule, kept)


def signalled(lived: Lived) -> bool:
    return any(happening.kind is Kind.SIGNAL for happening in lived.happenings)
