"""The run that follows, and what the closing event says of it."""

from __future__ import annotations

import json

from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.converter import PayloadConverter

from dbos_compat.chains.successor import continued_attributes
from dbos_compat.convert.payloads import payload_map_text


def test_headers_of_a_continue_as_new_are_in_the_closing_event() -> None:
    """Those of the command, not those that the run itself was given."""
    own, given = (PayloadConverter.default.to_payload(name) for name in ("own", "given"))
    before = WorkflowExecutionStartedEventAttributes()
    before.header.fields["own"].CopyFrom(own)
    command = {"k": "continue_as_new", "type": "Next", "in": None, "h": json.loads(payload_map_text({"given": given}))}
    assert dict(continued_attributes(command, before, {}).header.fields) == {"given": given}
    assert not continued_attributes({**command, "h": None}, before, {}).HasField("header")
