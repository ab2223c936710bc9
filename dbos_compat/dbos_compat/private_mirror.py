"""The service client of a mirrored connection: every call goes to Temporal, and what was answered is shown to somebody.

One private name of temporalio: the method through which all calls of a service client go (beside
:mod:`~dbos_compat.private`, which replaces the same method by an engine).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

import google.protobuf.message
import temporalio.service
from temporalio.service import ServiceClient

from dbos_compat.sdk_release import Name, verify

__all__ = ["ObservedServiceClient"]

logger = logging.getLogger("dbos_compat")

Message = google.protobuf.message.Message
Response = TypeVar("Response", bound=Message)
Observe = Callable[[str, Message, Message], None]

verify([Name(ServiceClient, "_rpc_call")])


class ObservedServiceClient(ServiceClient):
    """A service client in front of another one.

    A ``Worker`` made with it polls through the inner one (``worker_service_client``): workers do not notice.
    """

    def __init__(self, inner: ServiceClient, rpcs: frozenset[str], observe: Observe) -> None:
        """
        Args:
            inner: answers every call.
            rpcs: names of the calls that are shown to ``observe``, with request and answer, once they went well.
            observe: must not block; what it raises is logged and goes no further.
        """
        super().__init__(inner.config)
        self._inner = inner
        self._rpcs = rpcs
        self._observe = observe

    @property
    def worker_service_client(self) -> temporalio.service._BridgeServiceClient:
        return self._inner.worker_service_client

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        self._inner.update_rpc_metadata(metadata)

    def update_api_key(self, api_key: str | None) -> None:
        self._inner.update_api_key(api_key)

    async def _rpc_call(
        self,
        rpc: str,
        req: Message,
        resp_type: type[Response],
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Response:
        answer = await self._inner._rpc_call(
            rpc, req, resp_type, service=service, retry=retry, metadata=metadata, timeout=timeout
        )
        if rpc in self._rpcs:
            try:
                self._observe(rpc, req, answer)
            except Exception:
                logger.exception("a mirrored call (%s) could not be noted; its caller is not concerned", rpc)
        return answer
