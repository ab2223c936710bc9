"""Histories in files: every form that Temporal writes, and what is said of everything else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson
from temporalio.api.export.v1 import WorkflowExecution, WorkflowExecutions
from temporalio.api.history.v1 import History
from temporalio.client import WorkflowHistory

from dbos_shadow.reading import exporting, files
from dbos_shadow.reading.file_source import FileSource
from dbos_shadow.reading.files import NoHistories, Unreadable
from dbos_shadow.recorded import Recorded
from dbos_shadow.select import Candidate, Selection, Window
from tests.unit.shadow.events import history, recorded


def text(workflow_id: str = "w", run_id: str = "r") -> str:
    return WorkflowHistory(workflow_id, history(workflow_id, run_id)).to_json()


def cloud(*ids: str) -> bytes:
    """As Temporal Cloud exports runs."""
    return WorkflowExecutions(
        items=[WorkflowExecution(history=History(events=history(one, f"r-{one}"))) for one in ids]
    ).SerializeToString()


def _ids(run: Recorded | Unreadable) -> tuple[str, str]:
    return (run.workflow_id, f"r-{run.workflow_id}")


def one(path: Path) -> Recorded:
    (found,) = files.read(path)
    assert isinstance(found, Recorded), found
    return found


def unreadable(path: Path) -> Unreadable:
    *_, found = files.read(path)
    assert isinstance(found, Unreadable), found
    return found


class TestForms:
    @pytest.mark.parametrize("name", ["h.json", "h.json.gz", "h.JSON"])
    def test_json_of_a_history(self, tmp_path: Path, name: str) -> None:
        data = text().encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        found = one(tmp_path / name)
        assert (found.workflow_id, found.run_id, found.workflow_type) == ("w", "r", "Order")
        assert found.source == f"file:{tmp_path / name}"
        assert len(found.events) == 5

    def test_a_bare_list_of_events(self, tmp_path: Path) -> None:
        path = tmp_path / "h.json"
        path.write_text(json.dumps(json.loads(text())["events"]))
        assert one(path).workflow_id == "w"

    def test_one_event_per_line(self, tmp_path: Path) -> None:
        path = tmp_path / "h.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in json.loads(text())["events"]))
        assert len(one(path).events) == 5

    def test_one_history_per_line(self, tmp_path: Path) -> None:
        path = tmp_path / "h.jsonl"
        path.write_text("\n".join(json.dumps(json.loads(text(f"w{number}"))) for number in range(3)))
        assert [found.workflow_id for found in files.read(path)] == ["w0", "w1", "w2"]

    @pytest.mark.parametrize("snake_case", [False, True])
    def test_an_export_of_temporal_cloud_as_json(self, tmp_path: Path, snake_case: bool) -> None:
        """As protobuf's own tools write it."""
        message = WorkflowExecutions.FromString(cloud("a", "b"))
        path = tmp_path / "export.json"
        path.write_text(MessageToJson(message, preserving_proto_field_name=snake_case))
        found = list(files.read(path))
        assert [(run.workflow_id, run.source.rpartition("#")[2]) for run in found] == [("a", "1"), ("b", "2")]
        assert all(isinstance(run, Recorded) and list(run.events) == history(*_ids(run)) for run in found)
        path.write_text(MessageToJson(message.items[0], preserving_proto_field_name=snake_case))
        assert one(path).workflow_id == "a"

    @pytest.mark.parametrize("name", ["export.pb", "export.proto.gz", "export.binpb", "0123"])
    def test_an_export_of_temporal_cloud(self, tmp_path: Path, name: str) -> None:
        data = cloud("a", "b", "c")
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        found = list(files.read(tmp_path / name))
        assert [(run.workflow_id, run.source.rpartition("#")[2]) for run in found] == [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
        ]

    def test_an_old_history_is_called_as_its_file(self, tmp_path: Path) -> None:
        events = history("")
        run = Recorded(workflow_id="order/42 b", run_id="r", workflow_type="Order", events=events, source="")
        path = exporting.write(tmp_path, run)
        assert path.name == "order%2F42%20b r.json"
        assert one(path).workflow_id == "order/42 b"

    @pytest.mark.parametrize("zipped", [False, True])
    def test_what_is_exported_is_read_again(self, tmp_path: Path, zipped: bool) -> None:
        run = recorded("a/b", "r1")
        path = exporting.write(tmp_path, run, zipped=zipped)
        assert path == exporting.path_of(tmp_path, run, zipped=zipped)
        assert list(one(path).events) == list(run.events)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_the_longest_workflow_id_makes_a_file_name(self, tmp_path: Path) -> None:
        path = exporting.write(tmp_path, recorded("ü" * 1000, "01a20351-229b-74b3-947a-7793b9dbcb1c"))
        assert one(path).workflow_id == "ü" * 1000


class TestWhatIsNone:
    @pytest.mark.parametrize(
        ("name", "data", "said"),
        [
            ("h.json", text().encode()[:-200], "not JSON; was the export cut"),
            ("h.json", b"{}", 'no list of "events"'),
            ("h.json", b'{"events": []}', "no events"),
            ("h.json", b'{"items": [{"history": {"events": []}}]}', "no events"),
            ("h.json", b'{"items": []}', "empty"),
            ("h.json", text().replace('"Ingi"', '["secret"]').encode(), "payloads were decoded"),
            ("h.json", b'{"items": [{"secret": {}}]}', 'no list of "events"'),
            ("h.json", b'{"events": [1]}', "not a history"),
            ("h.json", b'{"events": [{"eventId": "secret"}]}', "not one that this version knows"),
            ("h.json.gz", gzip.compress(text().encode(), mtime=0)[:-40], "cut"),
            ("h.json.gz", b"nothing of that sort", "not gzip"),
            ("h.json.gz", gzip.compress(text().encode(), mtime=0)[:10] + b"\xff" * 40, "not gzip"),
            ("h.json", b"\xff\xfe", "It is not"),
            ("h.jsonl", b"{}\n{", "Line 2"),
            ("h.jsonl", b"", "empty"),
            ("h.jsonl", b"\n  \n", "empty"),
            ("h.pb", cloud("a", "b")[:-7], "cut after 1 runs"),
            ("h.pb", b"", "empty"),
            ("h.pb", b"plain text", "not a Temporal Cloud export"),
            ("h.pb", b"\x0a\xff\xff\xff\xff\x7f", "makes no sense"),
        ],
    )
    def test_it_is_said(self, tmp_path: Path, name: str, data: bytes, said: str) -> None:
        (tmp_path / name).write_bytes(data)
        found = unreadable(tmp_path / name)
        assert said in found.note
        assert str(tmp_path / name) in found.note
        assert "secret" not in found.note

    def test_nothing_where_something_was_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(NoHistories, match="no file or folder"):
            files.find([tmp_path / "absent"])
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(NoHistories, match="there is no history"):
            files.find([tmp_path])

    def test_folders_are_searched_and_nothing_is_found_twice(self, tmp_path: Path) -> None:
        for name in ("b.json", "deep/a.json.gz", "deep/er/c.pb", ".hidden.json", "notes.txt", "LICENSE", "empty"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("Permission" if name == "LICENSE" else "")
        (tmp_path / "deep/er/export").write_bytes(cloud("a"))
        found = files.find([tmp_path / "b.json", tmp_path])
        assert [path.relative_to(tmp_path).as_posix() for path in found] == [
            "b.json", "deep/a.json.gz", "deep/er/c.pb", "deep/er/export",
        ]  # fmt: skip


class TestSource:
    async def candidates(self, source: FileSource, selection: Selection) -> list[Candidate]:
        return [found async for found in source.candidates(selection) if isinstance(found, Candidate)]

    async def test_runs_are_read_again_in_any_order(self, tmp_path: Path) -> None:
        (tmp_path / "export.pb").write_bytes(cloud("a", "b", "c"))
        exporting.write(tmp_path, recorded("d"))
        source = FileSource([tmp_path])
        found = await self.candidates(source, Selection(maximum=4))
        assert [run.workflow_id for run in found] == ["d", "a", "b", "c"]
        assert all(run.shape and run.status == "completed" and run.events == 5 and run.close_ms for run in found)
        for candidate in (found[3], found[1], found[0], found[2], found[2]):
            again = await source.read(candidate)
            assert isinstance(again, Recorded)
            assert again.workflow_id == candidate.workflow_id

    async def test_what_is_not_wanted_is_left_out_and_what_is_unreadable_is_not(self, tmp_path: Path) -> None:
        exporting.write(tmp_path, recorded("open", closed=False))
        exporting.write(tmp_path, recorded("closed"))
        (tmp_path / "cut.json").write_text("{")
        source = FileSource([tmp_path])
        found = [run async for run in source.candidates(Selection(statuses=("running",)))]
        assert [run.workflow_id for run in found] == ["cut", "open"]
        assert isinstance(found[0], Unreadable)
        assert await self.candidates(source, Selection(closed=Window(before=None), statuses=("completed",)))
