"""One connection to pachd: every call has a deadline, dead lines are noticed, and errors are Refusals.

The generated stubs over an asyncio channel of our own, not python_pachyderm.Client: that one has no deadlines, loses
the end of files, and cannot be cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from python_pachyderm.proto.v2.auth.auth_pb2_grpc import APIStub as Auth
from python_pachyderm.proto.v2.pfs.pfs_pb2_grpc import APIStub as Pfs
from python_pachyderm.proto.v2.pps.pps_pb2_grpc import APIStub as Pps
from python_pachyderm.proto.v2.transaction.transaction_pb2 import (
    DeleteTransactionRequest,
    FinishTransactionRequest,
    StartTransactionRequest,
    Transaction,
)
from python_pachyderm.proto.v2.transaction.transaction_pb2_grpc import APIStub as Transactions
from python_pachyderm.proto.v2.version.versionpb.version_pb2_grpc import APIStub as Versions

from kaosd.engines.pachyderm.answers import PachydRefusal, refusal
from kaosd.errors import EngineUnavailable

DEADLINE = 30.0  # seconds that a plain call may take
PATIENCE = 60.0  # seconds in which an upload must get on by one message
KEEPALIVE = 60.0  # seconds between two pings, of which each must be answered in a third of that; pachd allows 5
SETTLING = 5.0  # how many times that long pachd may take to answer when all has been sent
OLDEST, NEWEST = (2, 7), (2, 12)
SMOOTH = (2, 11)  # before, a notebook goes down as soon as new data starts to arrive
_MESSAGE_MAX = 20 << 20
_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_MAX),
    ("grpc.max_send_message_length", _MESSAGE_MAX),
    ("grpc.http2.max_pings_without_data", 0),  # a stream of logs may be silent for hours; pachd allows it
    ("grpc.initial_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 30_000),
    ("grpc.use_local_subchannel_pool", 1),  # no connection is shared with another cluster object
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which pachd, and as whom. address: host:port. roots: PEM of the CAs; TLS when there are some."""

    address: str
    project: str = "default"
    token: str | None = field(default=None, repr=False)
    roots: bytes | None = field(default=None, repr=False)


class ClusterConnection:
    """To one cluster; made in the event loop that uses it. deadline, patience, keepalive: seconds."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        deadline: float = DEADLINE,
        patience: float = PATIENCE,
        keepalive: float = KEEPALIVE,
    ) -> None:
        self.cluster = cluster
        self._deadline = deadline
        self._patience = patience
        self._channel = _channel(cluster, keepalive)
        self.pfs = Pfs(self._channel)
        self.pps = Pps(self._channel)
        self.auth = Auth(self._channel)
        self._transactions = Transactions(self._channel)
        self._versions = Versions(self._channel)

    async def close(self) -> None:
        """End all calls and the connection."""
        await self._channel.close()

    async def ask(
        self,
        call: Callable[..., Any],
        request: object,
        what: str,
        *,
        transaction: str = "",
        within: float | None = None,
    ) -> Any:
        """The answer to one request. what: as in "pachd refused to ...". Raises PachydRefusal."""
        try:
            return await call(request, timeout=within or self._deadline, metadata=self._metadata(transaction))
        except grpc.RpcError as error:
            raise self._refusal(error, what) from error

    async def read(
        self, call: Callable[..., Any], request: object, what: str, *, within: float | None = None
    ) -> AsyncIterator[Any]:
        """The answers of a stream. within: seconds for all of it; None: it has no end. Raises PachydRefusal."""
        stream = call(request, timeout=within, metadata=self._metadata())
        try:
            async for answer in stream:
                yield answer
        except grpc.RpcError as error:
            raise self._refusal(error, what) from error
        finally:
            stream.cancel()

    async def send(self, call: Callable[..., Any], messages: AsyncIterator[Any], what: str) -> Any:
        """Send a stream of messages; the one answer. It must get on within the patience. Raises PachydRefusal.

        A failure of *messages* is raised; it cancels the call, so that the server drops what it has.
        """
        upload = _Upload(messages)
        stream = call(upload.messages(), metadata=self._metadata())
        answer = asyncio.ensure_future(_awaited(stream))
        try:
            while not (await asyncio.wait({answer}, timeout=self._patience))[0]:
                if not upload.moved(self._patience):
                    raise refusal("DEADLINE_EXCEEDED", "", address=self.cluster.address, what=what)
            if upload.failure is not None:
                raise upload.failure
            return answer.result()
        except grpc.RpcError as error:
            raise self._refusal(error, what) from error
        finally:
            stream.cancel()
            await asyncio.gather(answer, return_exceptions=True)

    async def together(self, calls: list[tuple[Callable[..., Any], object]], what: str) -> None:
        """Several requests in one transaction: all of them take effect, or none. Raises PachydRefusal."""
        begun = await self.ask(self._transactions.StartTransaction, StartTransactionRequest(), what)
        transaction = Transaction(id=begun.id)
        try:
            for call, request in calls:
                await self.ask(call, request, what, transaction=begun.id)
        except BaseException:
            drop = DeleteTransactionRequest(transaction=transaction)
            with contextlib.suppress(PachydRefusal):  # the first error counts; an open transaction does nothing
                await self.ask(self._transactions.DeleteTransaction, drop, what, within=5.0)
            raise
        finish = FinishTransactionRequest(transaction=transaction)
        await self.ask(self._transactions.FinishTransaction, finish, what, within=4 * self._deadline)

    async def version(self) -> tuple[int, int, int]:
        """Pachd's version; EngineUnavailable when kaosd does not know that one. Raises PachydRefusal."""
        found = await self.ask(self._versions.GetVersion, Empty(), "tell its version")
        version = (found.major, found.minor, found.micro)
        if not OLDEST <= version[:2] <= NEWEST:
            raise EngineUnavailable(
                f"pachd at {self.cluster.address} is version {'.'.join(map(str, version))}",
                hint=f"kaosd works with {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}",
                retryable=False,
            )
        return version

    def _metadata(self, transaction: str = "") -> tuple[tuple[str, str], ...]:
        token = (("authn-token", self.cluster.token),) if self.cluster.token else ()
        return (*token, ("pach-transaction", transaction)) if transaction else token

    def _refusal(self, error: grpc.RpcError, what: str) -> PachydRefusal:
        code, details = error.code().name, error.details() or ""
        return refusal(code, details, address=self.cluster.address, what=what)


class _Upload:
    """Messages on their way, and when the last one left."""

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self.failure: Exception | None = None
        self._messages = messages
        self._at = asyncio.get_running_loop().time()
        self._settling = 1.0

    async def messages(self) -> AsyncIterator[Any]:
        """The messages; a failure is remembered, because the call only tells that it was cancelled."""
        try:
            async for message in self._messages:
                yield message
                self._at = asyncio.get_running_loop().time()
        except Exception as error:
            self.failure = error
            raise
        self._settling = SETTLING

    def moved(self, patience: float) -> bool:
        """Whether it got on lately; after the last message the server has longer."""
        return asyncio.get_running_loop().time() - self._at < patience * self._settling


async def _awaited(stream: Any) -> Any:
    return await stream


def _channel(cluster: Cluster, keepalive: float) -> grpc.aio.Channel:
    every, answered = int(keepalive * 1e3), int(keepalive / 3 * 1e3)
    names = ("grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")  # the second counts where both are known
    pings = (("grpc.keepalive_time_ms", every), *((name, answered) for name in names))
    if cluster.roots is None:
        return grpc.aio.insecure_channel(cluster.address, (*_OPTIONS, *pings))
    return grpc.aio.secure_channel(cluster.address, grpc.ssl_channel_credentials(cluster.roots), (*_OPTIONS, *pings))
