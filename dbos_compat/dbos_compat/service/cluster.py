"""The cluster as a client sees it: system info, this namespace, search attributes, health."""

from __future__ import annotations

import uuid

from google.protobuf.message import Message
from temporalio.api.enums.v1 import IndexedValueType, NamespaceState
from temporalio.api.namespace.v1 import NamespaceConfig, NamespaceInfo
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    AddSearchAttributesResponse,
    ListSearchAttributesRequest,
    ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
    RemoveSearchAttributesResponse,
)
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSearchAttributesRequest,
    GetSearchAttributesResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
    ListNamespacesRequest,
    ListNamespacesResponse,
)
from temporalio.bridge.proto.health.v1 import HealthCheckRequest, HealthCheckResponse
from temporalio.service import RPCStatusCode

from dbos_compat.errors import invalid, no_namespace, rpc_error
from dbos_compat.filters.fields import FILLED_BY_TEMPORAL, KNOWN, PREDEFINED, SYSTEM_ATTRIBUTES, reserved
from dbos_compat.service.common import Context
from dbos_core.search import TYPES, FieldType

SERVER_VERSION = "1.32.0"
"""Of the Temporal server whose behaviour this engine follows; clients compare versions."""

_HEALTHY = {
    "",
    "temporal.api.workflowservice.v1.WorkflowService",
    "temporal.api.operatorservice.v1.OperatorService",
}

_INDEXED = {
    FieldType.TEXT: IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    FieldType.KEYWORD: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    FieldType.INT: IndexedValueType.INDEXED_VALUE_TYPE_INT,
    FieldType.DOUBLE: IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    FieldType.BOOL: IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    FieldType.DATETIME: IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    FieldType.KEYWORD_LIST: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    FieldType.STATUS: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    FieldType.DURATION: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}
_TYPES: dict[int, FieldType] = {number: kind for kind, number in reversed(_INDEXED.items())}


async def get_system_info(context: Context, request: GetSystemInfoRequest) -> GetSystemInfoResponse:
    return GetSystemInfoResponse(
        server_version=SERVER_VERSION,
        capabilities=GetSystemInfoResponse.Capabilities(
            signal_and_query_header=True,
            internal_error_differentiation=True,
            activity_failure_include_heartbeat=True,
            encoded_failure_attributes=True,
            upsert_memo=True,
            sdk_metadata=True,
            count_group_by_execution_status=True,
        ),
    )


async def get_cluster_info(context: Context, request: GetClusterInfoRequest) -> GetClusterInfoResponse:
    return GetClusterInfoResponse(
        server_version=SERVER_VERSION,
        cluster_id=str(namespace_id(context.namespace)),
        cluster_name="dbos-compat",
        history_shard_count=1,
        persistence_store="postgres",
        visibility_store="postgres",
    )


def namespace_id(namespace: str) -> uuid.UUID:
    """The same for the same name, wherever it is asked."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"dbos-compat:{namespace}")


def namespace(context: Context) -> DescribeNamespaceResponse:
    response = DescribeNamespaceResponse(
        namespace_info=NamespaceInfo(
            name=context.namespace,
            state=NamespaceState.NAMESPACE_STATE_REGISTERED,
            id=str(namespace_id(context.namespace)),
            capabilities=NamespaceInfo.Capabilities(sync_update=True, async_update=True),
        ),
        config=NamespaceConfig(),
    )
    response.replication_config.active_cluster_name = "dbos-compat"
    return response


async def describe_namespace(context: Context, request: DescribeNamespaceRequest) -> DescribeNamespaceResponse:
    if not request.namespace and not request.id:
        raise invalid("Namespace not set on request.")
    found = namespace(context)
    if request.id and request.id != found.namespace_info.id:
        raise no_namespace(request.id)
    return found


async def list_namespaces(context: Context, request: ListNamespacesRequest) -> ListNamespacesResponse:
    """The namespace of this connection; others are other schemas, which it does not look into."""
    return ListNamespacesResponse(namespaces=[namespace(context)])


# -- search attributes -------------------------------------------------------------------------------------------------


async def attribute_types(context: Context) -> dict[str, FieldType]:
    """The search attributes that were added, with their types."""
    return {name: FieldType(kind) for name, kind in (await context.kernel.store.attribute_types()).items()}


def _system() -> dict[str, IndexedValueType.ValueType]:
    shown = SYSTEM_ATTRIBUTES | PREDEFINED | FILLED_BY_TEMPORAL
    return {name: _INDEXED[kind] for name, kind in shown.items()}


async def _added(context: Context) -> dict[str, IndexedValueType.ValueType]:
    return {name: _INDEXED[kind] for name, kind in (await attribute_types(context)).items()}


async def get_search_attributes(context: Context, request: GetSearchAttributesRequest) -> GetSearchAttributesResponse:
    response = GetSearchAttributesResponse()
    response.keys.update(_system() | await _added(context))
    return response


async def list_search_attributes(
    context: Context, request: ListSearchAttributesRequest
) -> ListSearchAttributesResponse:
    return ListSearchAttributesResponse(system_attributes=_system(), custom_attributes=await _added(context))


async def add_search_attributes(context: Context, request: AddSearchAttributesRequest) -> AddSearchAttributesResponse:
    """Declare names and types. Starts accept any name, so this only makes filters check what they compare."""
    if not request.search_attributes:
        raise invalid("SearchAttributes are not set on request.")
    for name, number in request.search_attributes.items():
        if reserved(name) or name == TYPES:
            raise invalid(f"Search attribute {name} is reserved by system.")
        if number == IndexedValueType.INDEXED_VALUE_TYPE_UNSPECIFIED:
            raise invalid(
                "Unable to create search attributes: cannot have more than 0 search attribute of type Unspecified."
            )
        if number not in _TYPES:
            raise invalid(f"Unknown search attribute type: {number}.")
    known = await context.kernel.store.attribute_types()
    await context.kernel.store.declare_attributes(
        {
            name: _TYPES[number].value
            for name, number in request.search_attributes.items()
            if name and name not in known  # as on Temporal, what is there stays as it is
        }
    )
    return AddSearchAttributesResponse()


async def remove_search_attributes(
    context: Context, request: RemoveSearchAttributesRequest
) -> RemoveSearchAttributesResponse:
    if not request.search_attributes:
        raise invalid("SearchAttributes are not set on request.")
    for name in request.search_attributes:
        if name in KNOWN:
            raise invalid(f"Unable to remove non-custom search attributes: {name}.")
    await context.kernel.store.declare_attributes(dict.fromkeys(request.search_attributes))
    return RemoveSearchAttributesResponse()


# -- health ------------------------------------------------------------------------------------------------------------


async def check(context: Context, request: HealthCheckRequest) -> Message:
    """Serving, if the database answers."""
    if request.service not in _HEALTHY:
        raise rpc_error("unknown service", RPCStatusCode.NOT_FOUND)
    await context.kernel.store.now_ms()
    return HealthCheckResponse(status=HealthCheckResponse.ServingStatus.SERVING)
