"""Search attributes: adding and removing them, their types, and which values a start may give them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from .support import (
    BOOL,
    DATETIME,
    DOUBLE,
    INT,
    KEYWORD,
    KEYWORDS,
    TEXT,
    MakeWorker,
    add_search_attributes,
    eventually,
)

KEYWORD_TYPE = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT_TYPE = IndexedValueType.INDEXED_VALUE_TYPE_INT


async def add(client: Client, attributes: dict[str, Any]) -> None:
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes=attributes)
    )


async def remove(client: Client, *names: str) -> None:
    await client.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=client.namespace, search_attributes=names)
    )


async def custom(client: Client) -> dict[str, int]:
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return dict(answer.custom_attributes)


async def test_added_and_removed(client: Client) -> None:
    name = f"Added{uuid.uuid4().hex[:8]}"
    await add(client, {name: KEYWORD_TYPE})
    try:
        await eventually(partial(has, client, name, KEYWORD_TYPE))
        await add(client, {name: INT_TYPE})  # which changes nothing
        await eventually(partial(has, client, name, KEYWORD_TYPE))
    finally:
        await remove(client, name)
    await eventually(partial(has, client, name, None))


async def has(client: Client, name: str, kind: int | None) -> None:
    assert (await custom(client)).get(name) == kind


async def test_what_temporal_fills_is_listed(client: Client) -> None:
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    system = dict(answer.system_attributes)
    assert system["WorkflowId"] == KEYWORD_TYPE
    assert system["ExecutionDuration"] == INT_TYPE
    assert system["TemporalChangeVersion"] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST
    assert system["TemporalSchedulePaused"] == IndexedValueType.INDEXED_VALUE_TYPE_BOOL


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "SearchAttributes are not set on request."),
        ({"WorkflowId": KEYWORD_TYPE}, "Search attribute WorkflowId is reserved by system."),
        ({"BuildIds": KEYWORD_TYPE}, "Search attribute BuildIds is reserved by system."),
        ({"TemporalMine": KEYWORD_TYPE}, "Search attribute TemporalMine is reserved by system."),
        ({"Memo": KEYWORD_TYPE}, "Search attribute Memo is reserved by system."),
        ({"CompatOther": 99}, "Unknown search attribute type: 99."),
    ],
)
async def test_names_and_types_that_cannot_be_added(client: Client, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(RPCError) as refused:
        await add(client, attributes)
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "SearchAttributes are not set on request."),
        (("WorkflowId",), "Unable to remove non-custom search attributes: WorkflowId."),
        (("BuildIds",), "Unable to remove non-custom search attributes: BuildIds."),
    ],
)
async def test_what_cannot_be_removed(client: Client, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(RPCError) as refused:
        await remove(client, *names)
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.INVALID_ARGUMENT, message)
    await remove(client, "CompatNeverAdded")


@pytest.mark.filterwarnings("ignore:.*search attributes.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (INT.name, ["x"], "invalid value for search attribute CompatInt of type Int: [x]"),
        (INT.name, [1, 2], "invalid value for search attribute CompatInt of type Int: [1 2]"),
        (INT.name, [1.5], "invalid value for search attribute CompatInt of type Int: [1.5]"),
        (BOOL.name, ["true"], "invalid value for search attribute CompatBool of type Bool: [true]"),
        (
            DATETIME.name,
            ["yesterday"],
            "invalid value for search attribute CompatDatetime of type Datetime: [yesterday]",
        ),
        (KEYWORD.name, [5], "invalid value for search attribute CompatKeyword of type Keyword: [5]"),
        ("WorkflowId", ["x"], "WorkflowId attribute can't be set in SearchAttributes"),
        ("TemporalWorkerDeployment", ["x"], "TemporalWorkerDeployment attribute can't be set in SearchAttributes"),
    ],
)
async def test_a_start_gives_added_attributes_values_of_their_type(
    client: Client, wid: str, queue: str, name: str, values: list[Any], message: str
) -> None:
    await add_search_attributes(client)
    with pytest.raises(RPCError) as refused:
        await client.start_workflow("Nobody", id=wid, task_queue=queue, search_attributes={name: values})
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            SearchAttributePair(KEYWORD, "x" * 2047),
            "search attribute CompatKeyword value size 2049 exceeds size limit 2048",
        ),
        (
            SearchAttributePair(SearchAttributeKey.for_keyword(KEYWORDS.name), "x"),
            "invalid value for search attribute CompatKeywords of type KeywordList: x",
        ),
    ],
    ids=["too big", "a word for words"],
)
@pytest.mark.parametrize("with_signal", [False, True], ids=["start", "signal with start"])
async def test_a_start_with_a_value_that_cannot_be(
    client: Client, wid: str, queue: str, pair: SearchAttributePair[Any], message: str, with_signal: bool
) -> None:
    await add_search_attributes(client)
    signal: dict[str, Any] = {"start_signal": "hello"} if with_signal else {}
    attributes = TypedSearchAttributes([pair])
    with pytest.raises(RPCError) as refused:
        await client.start_workflow("Nobody", id=wid, task_queue=queue, search_attributes=attributes, **signal)
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.INVALID_ARGUMENT, message)


@workflow.defn
class Looker:
    @workflow.run
    async def run(self) -> list[str]:
        return sorted(f"{pair.key.name}: {pair.value!r}" for pair in workflow.info().typed_search_attributes)


@pytest.mark.filterwarnings("ignore:.*search attributes.*:DeprecationWarning")
async def test_attributes_without_types_get_those_that_were_added(
    client: Client, make_worker: MakeWorker, wid: str, queue: str
) -> None:
    await add_search_attributes(client)
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    given: dict[str, Any] = {
        INT.name: [7],
        DOUBLE.name: [3],
        BOOL.name: [True],
        KEYWORD.name: ["word"],
        KEYWORDS.name: ["a", "b"],
        TEXT.name: ["two words"],
        DATETIME.name: [moment],
    }
    async with make_worker(client, task_queue=queue, workflows=[Looker]):
        handle = await client.start_workflow(Looker.run, id=wid, task_queue=queue, search_attributes=given)
        seen = await handle.result()
    typed: list[SearchAttributePair[Any]] = [
        SearchAttributePair(INT, 7),
        SearchAttributePair(DOUBLE, 3.0),
        SearchAttributePair(BOOL, True),
        SearchAttributePair(KEYWORD, "word"),
        SearchAttributePair(KEYWORDS, ["a", "b"]),
        SearchAttributePair(TEXT, "two words"),
        SearchAttributePair(DATETIME, moment),
    ]
    assert seen == sorted(f"{pair.key.name}: {pair.value!r}" for pair in typed)
    described = [pair for pair in (await handle.describe()).typed_search_attributes if pair.key.name != "BuildIds"]
    assert TypedSearchAttributes(described) == TypedSearchAttributes(typed)

    async def found() -> None:
        query = f"{DATETIME.name} > '2026-01-02T01:00:00+01:00' AND {TEXT.name} = 'words' AND WorkflowId = '{wid}'"
        assert [run.id async for run in client.list_workflows(query)] == [wid]

    await eventually(found)
