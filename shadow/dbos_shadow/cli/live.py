"""The client of the live namespace: as the user's own tools make it."""

from __future__ import annotations

import inspect
from typing import Any

from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RetryConfig

from dbos_core.errors import Expected
from dbos_shadow.cli.loading import CannotLoad, load

__all__ = ["CannotConnect", "connect"]


class CannotConnect(Expected):
    """The Temporal server cannot be reached."""

    code = "DC112"


async def connect(
    *,
    address: str | None,
    namespace: str | None,
    profile: str | None,
    factory: str | None,
    retries: RetryConfig | None = None,
) -> Client:
    """A client by factory, or by address, or as the ``temporal`` command would connect: environment variables
    (``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE``, ``TEMPORAL_API_KEY``, ``TEMPORAL_TLS_…``) and profiles.

    Args:
        retries: which requests the client tries again by itself; None: as temporalio does. A factory's client does as it was
            made to.

    Raises:
        CannotConnect: nobody answers there.
        CannotLoad: the factory is none.
    """
    try:
        if factory is not None:
            made: Any = load(factory)
            made = made() if callable(made) and not isinstance(made, Client) else made
            made = await made if inspect.isawaitable(made) else made
            if not isinstance(made, Client):
                raise CannotLoad(f"{factory!r} gives a {type(made).__name__}, not a temporalio.client.Client.")
            return made
        config: dict[str, Any] = dict(ClientConfig.load_client_connect_config(profile=profile))
        if address is not None:
            config["target_host"] = address
        if namespace is not None:
            config["namespace"] = namespace
        config.setdefault("target_host", "localhost:7233")
        return await Client.connect(**config, retry_config=retries)
    except RuntimeError as error:
        raise CannotConnect(
            f"The Temporal server cannot be reached: {error}. Give --address host:port, or a profile, or --client."
        ) from error
