"""Stock messages: what a stock DBOS tool sends to a workflow becomes a signal with that one argument.

A stock client pickles by default. We read what is plain data in it, and nothing else: no class is ever looked up.
"""

from __future__ import annotations

import json
import pickle
from base64 import b64decode
from io import BytesIO
from typing import Any

from dbos_compat.convert.payloads import dumps
from dbos_core import mailbox
from dbos_core.commit import Mail


def message_text(mail: Mail) -> str:
    """A message as it is journalled: our own as they are.

    Raises:
        Exception: a stock message that cannot be read (``why_unreadable`` says so beforehand).
    """
    if mail.mail_id.startswith(mailbox.OWN_ID):
        return mail.message
    if mail.serialization == "py_pickle":
        value = _Restricted(BytesIO(b64decode(mail.message))).load()
        return f'{{"args":[{{"j":{json.dumps(value, separators=(",", ":"))}}}],"identity":"dbos"}}'
    return f'{{"args":[{{"j":{dumps(json.loads(mail.message))}}}],"identity":"dbos"}}'


def why_unreadable(mail: Mail) -> str | None:
    """Why this stock message cannot become a signal, and what its sender can do; None: it can."""
    try:
        message_text(mail).encode()
    except Exception as error:  # whatever was pickled, or written by a DBOS in another language
        return (
            f"it cannot be read ({type(error).__name__}: {error}). Send only what JSON has, "
            "with serialization_type=WorkflowSerializationFormat.PORTABLE"
        )
    return None


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds a {module}.{name}, and only plain data is accepted")
