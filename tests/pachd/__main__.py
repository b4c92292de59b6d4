"""The stand-in as a program: `python -m tests.pachd --place DIR`; prints its port and serves until it is ended."""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from python_pachyderm.proto.v2.auth import auth_pb2, auth_pb2_grpc
from python_pachyderm.proto.v2.pfs import pfs_pb2_grpc
from python_pachyderm.proto.v2.pps import pps_pb2_grpc
from python_pachyderm.proto.v2.transaction import transaction_pb2, transaction_pb2_grpc
from python_pachyderm.proto.v2.version.versionpb import version_pb2, version_pb2_grpc

from tests.pachd.pfs import Pfs, permissions, stamp
from tests.pachd.pps import Pps
from tests.pachd.state import Fault, Switches, World
from tests.pachd.worker import Worker

MESSAGE_MAX = 20 << 20
OPEN = {"GetVersion", "Check"}  # to everybody
FILES = {"ModifyFile", "GetFile", "ListFile", "WalkFile", "InspectFile"}
CHANGES = {
    "ModifyFile", "CreateRepo", "DeleteRepo", "CreateBranch", "DeleteBranch", "StartCommit", "FinishCommit",
    "CreatePipeline", "DeletePipeline", "StartPipeline", "StopPipeline", "StopJob", "CreateSecret", "DeleteSecret",
    "StartTransaction", "FinishTransaction", "DeleteTransaction",
}  # fmt: skip
QUEUED = {"CreateRepo", "CreateBranch", "CreatePipeline"}


class Transactions(transaction_pb2_grpc.APIServicer):
    """Requests that carry a transaction wait in it; nothing shows before it is finished."""

    def __init__(self, world: World, pfs: Pfs, pps: Pps) -> None:
        self.world, self.pfs, self.pps = world, pfs, pps

    def StartTransaction(self, request: Any, context: Any) -> Any:
        id_ = uuid.uuid4().hex
        with self.world.lock:
            self.world.transactions[id_] = []
        return transaction_pb2.Transaction(id=id_)

    def DeleteTransaction(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            self.world.transactions.pop(request.transaction.id, None)
        return Empty()

    def FinishTransaction(self, request: Any, context: Any) -> Any:
        with self.world.lock:
            queued = self.world.transactions.pop(request.transaction.id, None)
            if queued is None:
                raise Fault("NOT_FOUND", f"transaction {request.transaction.id} not found")
            moved, made, before = set(), [], self.world.branches()
            done = 0
            try:
                for name, one in queued:
                    if name == "CreateRepo":
                        self.pfs.CreateRepo(one, context)
                    elif name == "CreateBranch":
                        moved.add(self.pfs.create_branch(one))
                    else:
                        made.append(self.pps.create_pipeline(one))
                    done += 1
            except Fault as fault:
                self.world.put_back(before)
                raise Fault(fault.code, f"error running request {done + 1} of {len(queued)}: {fault.text}") from fault
            self.world.propagate(moved, uuid.uuid4().hex, tuple(made))
        return transaction_pb2.TransactionInfo(transaction=request.transaction)


class Versions(version_pb2_grpc.APIServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    def GetVersion(self, request: Any, context: Any) -> Any:
        major, minor, micro = self.world.version
        return version_pb2.Version(major=major, minor=minor, micro=micro)


class Auth(auth_pb2_grpc.APIServicer):
    """Who the one token stands for, and what that person may do; nothing of it while nobody needs a token."""

    def __init__(self, world: World) -> None:
        self.world = world

    def WhoAmI(self, request: Any, context: Any) -> Any:
        if self.world.token is None:
            raise Fault("UNIMPLEMENTED", "the auth service is not activated")
        expires = self.world.switches.expires
        return auth_pb2.WhoAmIResponse(
            username="user:ada", expiration=stamp(None if expires is None else time.time() + expires)
        )

    def GetPermissions(self, request: Any, context: Any) -> Any:
        if self.world.token is None:
            raise Fault("UNIMPLEMENTED", "the auth service is not activated")
        return auth_pb2.GetPermissionsResponse(permissions=permissions(self.world))


class Health(health_pb2_grpc.HealthServicer):
    def Check(self, request: Any, context: Any) -> Any:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


class Gate(grpc.ServerInterceptor):
    """Counts calls, checks tokens, lets things go wrong as told, and turns Faults into statuses."""

    def __init__(self, world: World) -> None:
        self.world = world

    def intercept_service(self, go_on: Callable[[Any], Any], call: Any) -> Any:
        kind = go_on(call)
        name = call.method.rpartition("/")[2]
        if kind is None or call.method.startswith("/fake."):
            return kind
        metadata = dict(call.invocation_metadata)
        wrapped = functools.partial(self._through, name, metadata)
        for shape in ("unary_unary", "unary_stream", "stream_unary"):
            method = getattr(kind, shape)
            if method is not None:
                make = getattr(grpc, f"{shape}_rpc_method_handler")
                run = wrapped(method, stream=shape == "unary_stream")
                return make(run, kind.request_deserializer, kind.response_serializer)
        raise AssertionError(call.method)

    def _through(self, name: str, metadata: dict[str, str], method: Any, *, stream: bool) -> Any:
        def one(request: Any, context: Any) -> Any:
            try:
                self._before(name, metadata, request)
                transaction = metadata.get("pach-transaction")
                answer = self._queue(transaction, name, request) if transaction else method(request, context)
            except Fault as fault:
                context.abort(getattr(grpc.StatusCode, fault.code), fault.text)
            if name in CHANGES:
                self.world.save()
            if self._take(self.world.switches.lose, name):
                context.abort(grpc.StatusCode.UNAVAILABLE, "transport is closing")
            return answer

        def many(request: Any, context: Any) -> Iterator[Any]:
            try:
                self._before(name, metadata, request)
                left = self.world.switches.cut.get(name, -1)
                for answer in method(request, context):
                    if left == 0:
                        context.abort(grpc.StatusCode.UNAVAILABLE, "transport is closing")
                    left -= 1
                    yield answer
            except Fault as fault:
                context.abort(getattr(grpc.StatusCode, fault.code), fault.text)

        return many if stream else one

    def _before(self, name: str, metadata: dict[str, str], request: Any) -> None:
        world, switches = self.world, self.world.switches
        with world.lock:
            world.calls[name] = world.calls.get(name, 0) + 1
        if switches.down:
            raise Fault("UNAVAILABLE", "connection refused")
        expired = switches.expires is not None and switches.expires <= 0
        if world.token is not None and name not in OPEN and (metadata.get("authn-token") != world.token or expired):
            text = "provided auth token is corrupted or has expired (try logging in again)"
            raise Fault(
                "UNAUTHENTICATED", text if "authn-token" in metadata else "no authentication token (try logging in)"
            )
        until = time.monotonic() + switches.slow.get(name, switches.slow.get("*", 0))
        with world.lock:
            while world.switches is switches and (left := until - time.monotonic()) > 0:
                world.changed.wait(left)
        for key in (name, "*"):
            told = switches.fail.get(key)
            if told and told[2] > 0:
                told[2] -= 1
                raise Fault(told[0], told[1])

    def _take(self, table: dict[str, int], name: str) -> bool:
        with self.world.lock:
            if table.get(name, 0) <= 0:
                return False
            table[name] -= 1
            return True

    def _queue(self, transaction: str, name: str, request: Any) -> Empty:
        if name in FILES:
            raise Fault("UNKNOWN", "file operations are not permitted in a transaction")
        with self.world.lock:
            if transaction not in self.world.transactions:
                raise Fault("NOT_FOUND", f"transaction {transaction} not found")
            if name not in QUEUED:
                raise Fault("UNIMPLEMENTED", f"the stand-in queues no {name}")
            self.world.transactions[transaction].append((name, request))
        return Empty()


def control(world: World) -> grpc.GenericRpcHandler:
    """What tests turn and read: JSON in, JSON out."""

    def turn(request: bytes, _context: Any) -> bytes:
        with world.lock:
            world.switches = Switches(**json.loads(request))
            world.changed.notify_all()
        return b"{}"

    def tell(_request: bytes, _context: Any) -> bytes:
        with world.lock:
            commits = {f"{key[0]}/{key[1]}": len(repo.commits) for key, repo in world.repos.items()}
            jobs = {
                f"{key[0]}/{key[1]}": [[job.state, job.version] for job in pipeline.jobs.values()]
                for key, pipeline in world.pipelines.items()
            }
            told = {
                "calls": world.calls, "bytes": world.bytes, "messages": world.messages, "restarts": world.restarts,
                "commits": commits, "jobs": jobs, "secrets": sorted(world.secrets),
            }  # fmt: skip
            return json.dumps(told).encode()

    def end_pods(_request: bytes, _context: Any) -> bytes:
        with world.lock:
            for pipeline in world.pipelines.values():
                pipeline.drained = True
            world.changed.notify_all()
        return b"{}"

    handlers = {"Turn": turn, "Tell": tell, "EndPods": end_pods}
    return grpc.method_handlers_generic_handler(
        "fake.Control", {name: grpc.unary_unary_rpc_method_handler(handle) for name, handle in handlers.items()}
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--version", default="2.11.6")
    parser.add_argument("--token")
    parser.add_argument("--project", action="append", default=[])
    parser.add_argument("--keep", action="store_true", help="be what the one before was that was started so there")
    parser.add_argument("--tls", type=Path, help="a directory with key.pem and cert.pem")
    options = parser.parse_args()
    major, minor, micro = map(int, options.version.split("."))
    world = World((major, minor, micro), options.token, tuple(options.project))
    if options.keep:
        world.keep_in(options.place / "world")
    pfs, pps = Pfs(world), Pps(world)
    limits = [("grpc.max_receive_message_length", MESSAGE_MAX), ("grpc.max_send_message_length", MESSAGE_MAX)]
    server = grpc.server(ThreadPoolExecutor(256), interceptors=(Gate(world),), options=limits)
    pfs_pb2_grpc.add_APIServicer_to_server(pfs, server)
    pps_pb2_grpc.add_APIServicer_to_server(pps, server)
    transaction_pb2_grpc.add_APIServicer_to_server(Transactions(world, pfs, pps), server)
    version_pb2_grpc.add_APIServicer_to_server(Versions(world), server)
    server.add_generic_rpc_handlers((control(world),))
    auth_pb2_grpc.add_APIServicer_to_server(Auth(world), server)
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    if options.tls is None:
        port = server.add_insecure_port(f"127.0.0.1:{options.port}")
    else:
        pair = ((options.tls / "key.pem").read_bytes(), (options.tls / "cert.pem").read_bytes())
        port = server.add_secure_port(f"127.0.0.1:{options.port}", grpc.ssl_server_credentials([pair]))
    server.start()
    worker = Worker(world, options.place)
    threading.Thread(target=worker.run, daemon=True).start()
    print(port, flush=True)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()  # ends with who started it
    over.wait()
    worker.close()
    os._exit(0)


if __name__ == "__main__":
    main()
