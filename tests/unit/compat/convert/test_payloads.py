"""Payloads are kept byte for byte, readable where they can be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from dbos_compat.convert.payloads import dumps, loads, payload, payload_text, plain_text

ENCODINGS = st.sampled_from([b"json/plain", b"binary/null", b"binary/plain", b"binary/encrypted", b""])
PAYLOADS = st.builds(
    Payload,
    metadata=st.one_of(
        st.builds(lambda encoding: {"encoding": encoding}, ENCODINGS),
        st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=3),
    ),
    data=st.one_of(
        st.binary(max_size=30),
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=4).map(
            lambda value: json.dumps(value, separators=(",", ":")).encode()
        ),
    ),
    external_payloads=st.lists(st.builds(Payload.ExternalPayloadDetails, size_bytes=st.integers(0, 2**40)), max_size=2),
)


@given(PAYLOADS)
def test_every_payload_comes_back_as_it_was(original: Payload) -> None:
    assert payload(json.loads(payload_text(original))) == original


@pytest.mark.parametrize(
    ("original", "text"),
    [
        (Payload(metadata={"encoding": b"json/plain"}, data=b'{"a":[1,null]}'), '{"j":{"a":[1,null]}}'),
        (Payload(metadata={"encoding": b"json/plain"}, data='"ü"'.encode()), '{"u":"\\u00fc"}'),
        (Payload(metadata={"encoding": b"binary/null"}), '{"n":1}'),
        (
            Payload(metadata={"encoding": b"binary/plain"}, data=b"\0"),
            '{"m":{"encoding":"YmluYXJ5L3BsYWlu"},"d":"AA=="}',
        ),
    ],
)
def test_the_forms(original: Payload, text: str) -> None:
    assert payload_text(original) == text


def test_a_reference_to_an_external_storage_is_never_taken_for_plain_json() -> None:
    reference = Payload(
        metadata={"encoding": b"json/plain"},
        data=b'{"key":"1"}',
        external_payloads=[Payload.ExternalPayloadDetails(size_bytes=7)],
    )
    assert json.loads(payload_text(reference))["x"] == [7]
    assert plain_text(reference) == payload_text(reference)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_what_was_written_is_read(value: Any) -> None:
    assert loads(dumps(value)) == value


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        loads("{")
