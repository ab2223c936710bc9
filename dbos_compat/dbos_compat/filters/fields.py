"""The names that a list filter may use without anybody having added them: Temporal's system and predefined attributes."""

from __future__ import annotations

from dbos_core.search import Field, FieldType

SYSTEM_FIELDS: dict[str, Field] = {
    "WorkflowId": Field.WORKFLOW_ID,
    "RunId": Field.RUN_ID,
    "WorkflowType": Field.WORKFLOW_TYPE,
    "ExecutionStatus": Field.STATUS,
    "TaskQueue": Field.TASK_QUEUE,
    "StartTime": Field.START_TIME,
    "ExecutionTime": Field.EXECUTION_TIME,
    "CloseTime": Field.CLOSE_TIME,
    "ExecutionDuration": Field.EXECUTION_DURATION,
    "HistoryLength": Field.HISTORY_LENGTH,
    "ParentWorkflowId": Field.PARENT_WORKFLOW_ID,
    "ParentRunId": Field.PARENT_RUN_ID,
    "RootWorkflowId": Field.ROOT_WORKFLOW_ID,
    "RootRunId": Field.ROOT_RUN_ID,
}
"""Fields of the run's row."""

SYSTEM_ATTRIBUTES: dict[str, FieldType] = {
    "WorkflowId": FieldType.KEYWORD,
    "RunId": FieldType.KEYWORD,
    "WorkflowType": FieldType.KEYWORD,
    "ExecutionStatus": FieldType.STATUS,
    "TaskQueue": FieldType.KEYWORD,
    "StartTime": FieldType.DATETIME,
    "ExecutionTime": FieldType.DATETIME,
    "CloseTime": FieldType.DATETIME,
    "ExecutionDuration": FieldType.DURATION,
    "HistoryLength": FieldType.INT,
    "RootWorkflowId": FieldType.KEYWORD,
    "RootRunId": FieldType.KEYWORD,
    "HistorySizeBytes": FieldType.INT,
    "StateTransitionCount": FieldType.INT,
    "ParentWorkflowId": FieldType.KEYWORD,
    "ParentRunId": FieldType.KEYWORD,
}
"""Facts of a run: nobody may set them."""

NOT_KEPT = frozenset({"HistorySizeBytes", "StateTransitionCount"})
"""Facts that this engine has no number of."""

PREDEFINED: dict[str, FieldType] = {
    "BatcherNamespace": FieldType.KEYWORD,
    "BatcherUser": FieldType.KEYWORD,
    "BinaryChecksums": FieldType.KEYWORD_LIST,
    "BuildIds": FieldType.KEYWORD_LIST,
    "TemporalChangeVersion": FieldType.KEYWORD_LIST,
    "TemporalNamespaceDivision": FieldType.KEYWORD,
    "TemporalPauseInfo": FieldType.KEYWORD_LIST,
    "TemporalReportedProblems": FieldType.KEYWORD_LIST,
    "TemporalScheduledById": FieldType.KEYWORD,
    "TemporalScheduledStartTime": FieldType.DATETIME,
    "TemporalSchedulePaused": FieldType.BOOL,
}
"""Attributes that Temporal fills, and that a start may set."""

FILLED_BY_TEMPORAL: dict[str, FieldType] = {
    "TemporalExternalPayloadCount": FieldType.INT,
    "TemporalExternalPayloadSizeBytes": FieldType.INT,
    "TemporalUsedWorkerDeploymentVersions": FieldType.KEYWORD_LIST,
    "TemporalWorkerDeployment": FieldType.KEYWORD,
    "TemporalWorkerDeploymentVersion": FieldType.KEYWORD,
    "TemporalWorkflowVersioningBehavior": FieldType.KEYWORD,
}
"""Attributes that only Temporal sets."""

KNOWN: dict[str, FieldType] = SYSTEM_ATTRIBUTES | PREDEFINED | FILLED_BY_TEMPORAL

PREFIX = "Temporal"


def resolved(name: str) -> str | None:
    """The known name that is meant: itself, or with or without the prefix ``Temporal``; None if there is none."""
    for candidate in (name, PREFIX + name, name.removeprefix(PREFIX)):
        if candidate in KNOWN:
            return candidate
    return "WorkflowId" if name == "ScheduleId" else None


def reserved(name: str) -> bool:
    """May nobody add an attribute of this name?"""
    return (
        name in KNOWN or name in ("NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey") or name.startswith(PREFIX)
    )
