"""Payloads ⇄ JSON text, byte for byte.

A payload is kept as JSON wherever it *is* JSON (``json/plain``, nothing but the encoding in its metadata, and written
the way ``json.dumps`` writes it), so that a stock DBOS tool and a person with psql can read it. Anything else keeps its
bytes and metadata in base64: a codec's ciphertext is stored as it came and is never decoded at rest.

Forms, as they appear in records::

    {"j": value}                       json/plain, ASCII-escaped separators "," ":" (the SDK's own converter)
    {"u": value}                       json/plain, same but with raw UTF-8 (pydantic's converter)
    {"n": 1}                           binary/null
    {"m": {key: base64}, "d": base64}  everything else
    {…, "x": [bytes, …]}               with "m" and "d": it refers to payloads of these sizes in an external storage
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads

_SCALARS = frozenset([b"true", b"false", b"null", *(str(n).encode() for n in range(-1, 1000))])
"""Too common to be parsed."""
_JSON = b"json/plain"
_NULL = b"binary/null"


def _encoder(escape: Callable[[str], str], ensure_ascii: bool) -> Callable[[Any], str]:
    """``json.dumps`` with compact separators. The C encoder is made once; ``json`` makes one per call."""
    slow = json.JSONEncoder(separators=(",", ":"), ensure_ascii=ensure_ascii)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # no C accelerator
        return slow.encode
    chunks = make(None, slow.default, escape, None, ":", ",", False, False, True)

    def encode(value: Any) -> str:
        if type(value) is str:
            return escape(value)
        return "".join(chunks(value, 0))

    return encode


_dumps = _encoder(json.encoder.encode_basestring_ascii, True)
_dumps_utf8 = _encoder(json.encoder.encode_basestring, False)

dumps = _dumps
"""Compact ASCII JSON: what every record is written with."""

_read = json.JSONDecoder().raw_decode


def loads(text: str) -> Any:
    """The value of a text that ``dumps`` has written: nothing stands before or behind it.

    Raises:
        ValueError: it is no JSON.
    """
    return _read(text)[0]


def payload_text(payload: Payload) -> str:
    """The form of one payload as JSON text."""
    metadata = payload.metadata
    external = payload.external_payloads
    if len(metadata) == 1 and not external:
        encoding = metadata.get("encoding")
        if encoding == _JSON:
            text = _json_form(payload.data)
            if text is not None:
                return text
        elif encoding == _NULL and not payload.data:
            return '{"n":1}'
    form: dict[str, Any] = {
        "m": {key: b64encode(value).decode() for key, value in sorted(metadata.items())},
        "d": b64encode(payload.data).decode(),
    }
    if external:
        form["x"] = [details.size_bytes for details in external]
    return _dumps(form)


def _json_form(data: bytes) -> str | None:
    """The form of JSON data, or None when writing it again would not give the same bytes."""
    if data in _SCALARS:
        return f'{{"j":{data.decode()}}}'
    try:
        raw = data.decode()
        value = loads(raw)  # what stands before or behind it would not be written again either
        if _dumps(value) == raw:
            return f'{{"j":{raw}}}' if "NaN" not in raw and "Infinity" not in raw else None
        if _dumps_utf8(value) == raw:
            return f'{{"u":{_dumps(value)}}}' if "NaN" not in raw and "Infinity" not in raw else None
    except (ValueError, RecursionError):
        return None
    return None


def payloads_text(payloads: Iterable[Payload]) -> str:
    """The forms of several payloads as a JSON list."""
    return "[" + ",".join([payload_text(p) for p in payloads]) + "]"


def payload_map_text(payloads: Mapping[str, Payload]) -> str:
    """The forms of named payloads (headers, memo) as a JSON object, sorted by name."""
    return "{" + ",".join([f"{_dumps(k)}:{payload_text(payloads[k])}" for k in sorted(payloads)]) + "}"


def is_nothing(payload: Payload) -> bool:
    """Does Temporal take it for no value: null, or an empty list? Such memo fields and search attributes are not kept."""
    return payload.data in (b"", b"null", b"[]")


def payload(form: Mapping[str, Any]) -> Payload:
    """The payload that a form stands for."""
    if "j" in form:
        return _json_payload(_dumps(form["j"]))
    if "u" in form:
        return _json_payload(_dumps_utf8(form["u"]))
    if "n" in form:
        return Payload(metadata={"encoding": _NULL})
    return Payload(
        metadata={key: b64decode(value) for key, value in form["m"].items()},
        data=b64decode(form["d"]),
        external_payloads=[Payload.ExternalPayloadDetails(size_bytes=size) for size in form.get("x", ())],
    )


def _json_payload(text: str) -> Payload:
    made = Payload(data=text.encode())
    made.metadata["encoding"] = _JSON  # as an argument it would go through a mapping of pure Python
    return made


def payloads(forms: Iterable[Mapping[str, Any]]) -> list[Payload]:
    return [payload(form) for form in forms]


def payload_map(forms: Mapping[str, Mapping[str, Any]]) -> dict[str, Payload]:
    return {key: payload(form) for key, form in forms.items()}


def as_payloads(forms: Iterable[Mapping[str, Any]]) -> Payloads:
    return Payloads(payloads=payloads(forms))


def plain_text(payload_: Payload) -> str:
    """What a stock DBOS reader shall see: the bare JSON value where it is one, else the form."""
    text = payload_text(payload_)
    if text.startswith(('{"j":', '{"u":')):
        return text[5:-1]
    return "null" if text == '{"n":1}' else text
