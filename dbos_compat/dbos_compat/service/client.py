"""EngineService: RPC name → handler, error → status. No logic of its own.

temporalio's ``ServiceClient`` hands every RPC here (the subclass with the private names lives in ``private``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.errors import from_kernel, invalid, no_namespace, no_such_rpc, rpc_error, timeout_expired
from dbos_compat.service import activities, attempts, batch, describe, operate, schedule_starter, update
from dbos_compat.service.common import Context, Handler
from dbos_compat.service.table import SERVICES
from dbos_core.errors import DBOSCompatError, Ours, StoreUnavailable
from dbos_core.kernel import Kernel

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 2.0
RETRY_FOR_S = 30.0
"""How long a caller waits for a database that restarts."""

logger = logging.getLogger(__name__)


class EngineService:
    """Answers Temporal's RPCs for one namespace, on one kernel."""

    def __init__(self, kernel: Kernel, *, namespace: str = "default") -> None:
        self._context = Context(kernel=kernel, namespace=namespace)
        activities.register(self._context)
        attempts.register(self._context)
        operate.register(self._context)
        update.register(self._context)
        schedule_starter.register(self._context)
        describe.register(self._context)
        batch.register(self._context)

    @property
    def namespace(self) -> str:
        return self._context.namespace

    async def call(
        self,
        rpc: str,
        req: Message,
        *,
        service: str = "workflow",
        timeout: timedelta | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> Message:
        """Answer one RPC.

        Args:
            rpc: its name in snake case.
            req: the request; it is never changed.
            service: workflow, operator, cloud, test or health.
            timeout: of the caller; when it passes, the answer is the one that the Rust client gives.
            metadata: headers of the call; nobody here reads them.

        Raises:
            RPCError: whatever goes wrong, with Temporal's status and details.
        """
        handler = SERVICES.get(service, {}).get(rpc)
        if handler is None:
            raise no_such_rpc(service, rpc)
        try:
            self._check_namespace(req)
            if timeout is None:
                return await self._answered(handler, req)
            async with asyncio.timeout(timeout.total_seconds()) as limit:
                return await self._answered(handler, req)
        except RPCError:
            raise
        except TimeoutError as error:
            if timeout is not None and limit.expired():
                raise timeout_expired() from None
            raise self._internal(rpc, error) from error
        except Ours as error:
            raise self._internal(rpc, error) from error
        except DBOSCompatError as error:
            raise from_kernel(error) from error
        except Exception as error:
            raise self._internal(rpc, error) from error

    async def _answered(self, handler: Handler[Any], req: Message) -> Message:
        """The handler's answer. While the database is away it is asked again, as the Rust client would ask a server:
        what handlers write is recognised by its ids when it comes twice."""
        clock = asyncio.get_running_loop().time
        give_up = 0.0
        delay = RETRY_FIRST_S
        while True:
            try:
                return await handler(self._context, req)
            except StoreUnavailable as error:
                give_up = give_up or clock() + RETRY_FOR_S
                if clock() + delay > give_up or self._context.kernel.closing:
                    raise
                logger.info("the database is away, %s is asked again: %s", type(req).__name__, error)
            await asyncio.sleep(delay)
            delay = min(2 * delay, RETRY_MAX_S)

    def _check_namespace(self, req: Message) -> None:
        """A service serves its own namespace; requests that name none are about the whole cluster."""
        namespace = getattr(req, "namespace", None)
        if namespace is None or namespace == self._context.namespace:
            return
        if isinstance(namespace, str):
            if not namespace:
                if "namespace" in _OPTIONAL.get(type(req).__name__, ()):
                    return
                raise invalid("Namespace is empty.")
            raise no_namespace(namespace)

    def _internal(self, rpc: str, error: Exception) -> RPCError:
        """Our own failure: an id for the caller, the whole story for the log, nothing of the data in either."""
        number = self._context.kernel.entropy.uuid()[-8:]
        logger.error("RPC %s failed inside dbos-compat (%s)", rpc, number, exc_info=error)
        return rpc_error(
            f"{rpc} failed inside dbos-compat: {type(error).__name__}. The log of this process has the traceback under "
            f"{number}; please report it.",
            RPCStatusCode.INTERNAL,
        )


_OPTIONAL = {
    "DescribeNamespaceRequest": ("namespace",),
    "ListSearchAttributesRequest": ("namespace",),
    "AddSearchAttributesRequest": ("namespace",),
    "RemoveSearchAttributesRequest": ("namespace",),
}
"""Requests that may leave their namespace out."""
