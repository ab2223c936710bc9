"""What a shadow must never do: show a secret, or run an activity. On histories of a real server, to the last output."""

from __future__ import annotations

import base64
import inspect
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rich.console import Console
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_shadow.free_run import free_run
from dbos_shadow.mirror import MemoryLedger, MirrorWorker, Note
from dbos_shadow.mirror.keeping import Kept
from dbos_shadow.replay import replay_recorded
from dbos_shadow.report import (
    ReportBuilder,
    ReportConfig,
    render_html,
    render_jsonl,
    render_junit,
    render_markdown,
    render_sarif,
    render_text,
    to_json,
)
from dbos_shadow.results.lines import LineResults
from dbos_shadow.verdict import Judgement, Reason, Verdict
from tests.fixtures.process import IMPORT_FOLDERS
from tests.shadow import planted
from tests.shadow.corpus.judges import workbench
from tests.shadow.corpus.recorder import Played, record
from tests.shadow.corpus.theme import Theme
from tests.shadow.mutations.mutation import Mutation, mutated

pytestmark = [pytest.mark.temporal, pytest.mark.timeout(300)]


def _hidden(word: bytes) -> set[bytes]:
    """How it looks inside of base64, wherever it stands in there."""
    found = set()
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + word)
        found.add(coded[(0, 2, 3)[shift] : -4 if (shift + len(word)) % 3 else None])
    return found


CANARY = re.compile(b"|".join([b"canary", b"canary".hex().encode(), *_hidden(b"canary")]), re.IGNORECASE)

OTHER_SECRET = Mutation(
    "another secret", "planted/planted", "tests.shadow.planted", 'SECRET = "canary-one"', 'SECRET = "canary-two"', ""
)
ONE_MORE = Mutation(
    "an activity that was never recorded",
    "planted/planted",
    "tests.shadow.planted:Planted",
    "        await workflow.execute_local_activity(keep",
    "        await workflow.execute_activity('keep_more', 1, start_to_close_timeout=SOON)\n"
    "        await workflow.execute_local_activity(keep",
    "",
)


def seen(output: bytes) -> list[bytes]:
    """The secret, and what stands around it."""
    return [output[max(0, match.start() - 60) : match.end() + 60] for match in CANARY.finditer(output)]


@pytest.fixture(scope="module")
def footprints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted") / "footprints"


@pytest.fixture(scope="module")
def played(temporal_address: str, footprints: Path) -> list[Played]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(planted.FOOTPRINTS, str(footprints))
        found = record(temporal_address, [planted.theme])
    assert len(footprints.read_text().splitlines()) >= 10  # they were real
    return found


Way = Callable[..., Awaitable[Judgement]]


async def judged(played: list[Played], theme: Theme, way: Way) -> list[Judgement]:
    async with workbench(theme) as bench:
        return [await way(run.recorded, bench) for run in played]


@pytest.fixture(params=[replay_recorded, free_run], ids=["replay", "free_run"])
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


def test_the_histories_are_full_of_it(played: list[Played]) -> None:
    """Else the other tests would prove nothing."""
    texts = [WorkflowHistory(run.recorded.workflow_id, run.recorded.events).to_json().encode() for run in played]
    assert sum(len(CANARY.findall(text)) for text in texts) > 150
    raw = b"".join(event.SerializeToString() for run in played for event in run.recorded.events)
    for place in ("input", "memo", "attribute", "local", "result", "cause", "message", "signal", "update", "caller",
                  "child memo", "to a stranger", "next memo", "failure", "refused", "detail", "reason", "nap"):  # fmt: skip
        assert f"canary-one {place}".encode() in raw, place


async def test_no_output_shows_it(
    played: list[Played], way: Way, footprints: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="dbos_shadow")
    caplog.set_level(logging.DEBUG, logger="dbos_compat")
    before = footprints.read_text()
    builder = ReportBuilder(ReportConfig(key=b"0123456789abcdef"))
    with mutated(OTHER_SECRET, planted.theme) as theme:
        found = await judged(played, theme, way)
    for judgement in found:
        builder.add(judgement)
    assert sum(judgement.verdict is Verdict.MISMATCH for judgement in found) >= 4
    report = builder.finish()
    text = io.StringIO()
    render_text(report, Console(file=text, width=200))
    outputs = {
        "text": text.getvalue(),
        "json": to_json(report),
        "lines": render_jsonl(report),
        "junit": render_junit(report),
        "sarif": render_sarif(report),
        "markdown": render_markdown(report),
        "html": render_html(report),
        "log": "\n".join(f"{one.getMessage()} {one.exc_text or ''}" for one in caplog.records if "dbos" in one.name),
    }
    for name, output in outputs.items():
        assert not seen(output.encode()), name
    assert len(outputs["html"]) > 1000
    assert "looks_like_a_name" in outputs["json"], "a key that might be a field's: the guide says that it is shown"
    assert footprints.read_text() == before


async def test_a_mirror_neither_shows_it_nor_keeps_it_in_results(
    played: list[Played], temporal_address: str, footprints: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="dbos_shadow")
    caplog.set_level(logging.DEBUG, logger="dbos_compat")
    before = footprints.read_text()
    over = [run.recorded for run in played if run.recorded.closed]
    ledger = MemoryLedger()
    await ledger.note(
        Note(workflow_id=run.workflow_id, run_id=run.run_id, workflow_type=run.workflow_type) for run in over
    )
    results = LineResults(tmp_path / "results.jsonl")
    await results.open()
    with mutated(OTHER_SECRET, planted.theme) as theme:
        temporal = await Client.connect(
            temporal_address, data_converter=theme.data_converter, interceptors=theme.interceptors
        )
        async with MirrorWorker(
            temporal,
            ledger=ledger,
            workflows=theme.workflows,
            workflow_runner=UnsandboxedWorkflowRunner(),
            kept=Kept(results=results, key=b"0123456789abcdef"),
            **theme.worker_options,
        ) as worker:
            await worker.caught_up()
            verdicts = worker.followed.verdicts
    await results.close()
    assert verdicts[Verdict.MISMATCH] >= 4, verdicts
    assert not seen((tmp_path / "results.jsonl").read_bytes())
    log = "\n".join(f"{one.getMessage()} {one.exc_text or ''}" for one in caplog.records if "dbos" in one.name)
    assert not seen(log.encode())
    assert footprints.read_text() == before


def test_the_command_does_not_show_it(played: list[Played], tmp_path: Path, footprints: Path) -> None:
    """All of what it writes and prints, and what it keeps between two calls."""
    histories = tmp_path / "histories"
    histories.mkdir()
    for number, run in enumerate(played):
        text = WorkflowHistory(run.recorded.workflow_id, run.recorded.events).to_json()
        (histories / f"{number}.json").write_text(text)
    (tmp_path / "changed_code.py").write_text(OTHER_SECRET.source())
    outputs = [f"report{suffix}" for suffix in (".html", ".json", ".jsonl", ".xml", ".sarif", ".md")]
    words = [sys.executable, "-m", "dbos_compat.cli", "shadow", "replay", "histories", "-w", "changed_code"]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *map(str, IMPORT_FOLDERS)]),
        planted.FOOTPRINTS: str(footprints),
    }
    before = footprints.read_text()
    ended = subprocess.run(
        [*words, *[word for name in outputs for word in ("-o", name)]],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    kept = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.parent != histories and "changed_code" not in str(path)
    ]
    assert len(kept) > len(outputs)  # the results are kept, too
    for name, output in [("stdout", ended.stdout), ("stderr", ended.stderr), *((p.name, p.read_bytes()) for p in kept)]:
        assert not seen(output), name
    assert footprints.read_text() == before


async def test_no_activity_runs(played: list[Played], way: Way, footprints: Path) -> None:
    before = footprints.read_text()
    found = await judged(played, planted.theme, way)
    assert Verdict.MATCH in {judgement.verdict for judgement in found}
    with mutated(ONE_MORE, planted.theme) as theme:
        changed = await judged(played, theme, way)
    assert footprints.read_text() == before
    parents = [judgement for judgement in changed if judgement.workflow_type == "Planted"]
    if way is replay_recorded:
        for judgement in parents:
            assert judgement.comparison is not None
            assert json.dumps("activity keep_more") in {found.actual for found in judgement.comparison.differences}
    else:
        told = {(judgement.verdict, judgement.reason, judgement.subject) for judgement in parents}
        assert (Verdict.INCONCLUSIVE, Reason.NO_STUB, "keep_more") in told


def test_the_recorded_program_would_have_left_footprints() -> None:
    """The proof that the proof can fail."""
    for activity in planted.theme.activities:
        assert "footprint(" in inspect.getsource(activity)
