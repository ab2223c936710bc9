"""The key of the hashes in results and reports: a secret that is in neither of them."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from dbos_compat.embedded import default_data_dir
from dbos_core.errors import Theirs

__all__ = ["BadKey", "read_key"]

KEY_BYTES = 32


class BadKey(Theirs):
    """The file of the key is missing or no key."""

    code = "DC405"


def read_key(path: Path | None) -> bytes:
    """The key in a file; without a file the user's own, made at first use and readable by nobody else.

    Raises:
        BadKey: the file is missing, or its secret has less than 16 bytes.
    """
    if path is None:
        path = default_data_dir() / "shadow.key"
        if not path.exists():
            _make(path)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise BadKey(f"The key in {path} cannot be read: {error.strerror}.") from error
    if len(key) < 16:
        raise BadKey(f"The key in {path} has {len(key)} bytes. Write 16 or more: openssl rand -hex 32 > {path}")
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)  # whoever is first has made it
    fresh.unlink()
