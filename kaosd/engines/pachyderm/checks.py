"""What `kaosctl doctor` asks: is the cluster there, does it know us, what may we do, are the parts that we need there.

Registry, BuildKit and hosts are asked from this machine. The cluster itself reaches the first two on its own ways, so
that silence there is a warning; a host that the front cannot reach is an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from urllib.parse import urlsplit

import aiohttp
from python_pachyderm.proto.v2.auth import auth_pb2
from python_pachyderm.proto.v2.pfs import pfs_pb2
from python_pachyderm.proto.v2.pps import pps_pb2

from kaosd.engines.base import Finding
from kaosd.engines.pachyderm import serving
from kaosd.engines.pachyderm.answers import Kind, PachydRefusal
from kaosd.engines.pachyderm.connection import SMOOTH, ClusterConnection
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import Pipelines
from kaosd.engines.pachyderm.specs import NOTEBOOK
from kaosd.errors import KaosError

CODE = "pachyderm"
WITHIN = 5.0  # seconds for each question
SOON = 7 * 24 * 3600  # seconds before a token's end from which on it is told
PULLING = "kubernetes.io/dockerconfigjson"
# what must be allowed, and the role that has it
ON_PROJECT = {"PROJECT_CREATE_REPO": "projectWriter"}
ON_CLUSTER = {"CLUSTER_CREATE_SECRET": "secretAdmin", "SECRET_DELETE": "secretAdmin"}


async def examine(connection: ClusterConnection, options: Options) -> AsyncIterator[Finding]:
    """One finding after the other; the first that makes the rest pointless is the last."""
    try:
        yield _version(await connection.version(), connection)
        user = await _user(connection)
    except KaosError as error:
        yield _failed(error)
        return
    yield _token(user)
    async for finding in _project(connection, user):
        yield finding
    for name in (*((options.registry_secret,) if options.registry_secret else ()), *options.pull_secrets):
        yield await _secret(connection, name, pulls=name in options.pull_secrets)
    yield await _registry(options)
    yield await _buildkit(options)
    async for finding in _services(connection, options):
        yield finding


def _version(version: tuple[int, int, int], connection: ClusterConnection) -> Finding:
    shown = ".".join(map(str, version))
    if version[:2] < SMOOTH:
        text = f"pachd {shown} ends a notebook's kernels as soon as data is on its way; from 2.11 on when it has come"
        return Finding(CODE, "warning", text, "upgrade pachd to 2.11 or newer")
    how = "with" if connection.cluster.roots is not None else "without"
    return Finding(CODE, "ok", f"pachd {shown} answers at {connection.cluster.address}, {how} TLS")


# -- whom it takes us for, and what it lets us do ------------------------------------------------------------


async def _user(connection: ClusterConnection) -> auth_pb2.WhoAmIResponse | None:
    """Who the token stands for; None when this cluster asks for none. Raises PachydRefusal."""
    try:
        request = auth_pb2.WhoAmIRequest()
        answer: auth_pb2.WhoAmIResponse = await connection.ask(
            connection.auth.WhoAmI, request, "tell who we are", within=WITHIN
        )
    except PachydRefusal as error:
        if error.kind is Kind.NO_AUTH:
            return None
        raise
    return answer


def _token(user: auth_pb2.WhoAmIResponse | None) -> Finding:
    if user is None:
        return Finding(CODE, "ok", "this pachd asks for no token")
    left = user.expiration.seconds - time.time() if user.expiration.seconds else SOON
    if left < SOON:
        hours = max(0, round(left / 3600))
        text = f"the token of {user.username} is good for {hours} more hours"
        return Finding(CODE, "warning", text, "`pachctl auth login` gives a new one; kaosd reads it when it starts")
    return Finding(CODE, "ok", f"the token is that of {user.username}")


async def _project(connection: ClusterConnection, user: auth_pb2.WhoAmIResponse | None) -> AsyncIterator[Finding]:
    project = connection.cluster.project
    request = pfs_pb2.InspectProjectRequest(project=pfs_pb2.Project(name=project))
    cluster = auth_pb2.GetPermissionsRequest(resource=auth_pb2.Resource(type=auth_pb2.CLUSTER))
    try:
        what = f"show the project {project}"
        info = await connection.ask(connection.pfs.InspectProject, request, what, within=WITHIN)
        yield Finding(CODE, "ok", f"the project {project} is there")
        if user is None:
            return
        yield _allowed(ON_PROJECT, info.auth_info.permissions, f"project {project}", user.username)
        what = "tell what we may do"
        allowed = await connection.ask(connection.auth.GetPermissions, cluster, what, within=WITHIN)
        yield _allowed(ON_CLUSTER, allowed.permissions, "cluster", user.username)
    except KaosError as error:
        yield _failed(error)


def _allowed(wanted: dict[str, str], found: Collection[int], where: str, user: str) -> Finding:
    """Whether all that is wanted is among the permissions (numbers of the protocol) that were found."""
    missing = [name for name in wanted if auth_pb2.Permission.Value(name) not in found]
    if not missing:
        return Finding(CODE, "ok", f"{user} may do what is needed on the {where}")
    mend = f"a person who administers the cluster can grant it: pachctl auth set {where} {wanted[missing[0]]} {user}"
    return Finding(CODE, "error", f"{user} has no {', '.join(missing)} on the {where}", mend)


async def _secret(connection: ClusterConnection, name: str, *, pulls: bool) -> Finding:
    request = pps_pb2.InspectSecretRequest(secret=pps_pb2.Secret(name=name))
    try:
        what = f"show the secret {name}"
        found = await connection.ask(connection.pps.InspectSecret, request, what, within=WITHIN)
    except KaosError as error:
        return _failed(error)
    if pulls != (found.type == PULLING):
        key = "pull_secrets" if pulls else "registry_secret"
        wanted = f"of type {PULLING}" if pulls else "an Opaque one with the key config.json"
        text = f"the secret {name} is of type {found.type or 'Opaque'}, and pachyderm.{key} must be {wanted}"
        return Finding(CODE, "error", text, "make such a secret with kubectl, and name that one")
    return Finding(CODE, "ok", f"the secret {name} is there")


# -- what stands beside it -----------------------------------------------------------------------------------


async def _registry(options: Options) -> Finding:
    """Whether the registry speaks; it need not let us in, since builds bring their own credentials."""
    host, slash, _ = options.registry.partition("/")
    if not slash and "." not in host and ":" not in host:  # as in the names of images
        return Finding(CODE, "ok", f"images go to {host} in the cluster's own default registry, which is not asked")
    url = f"{'http' if options.plain_registry else 'https'}://{host}/v2/"
    try:
        timeout = aiohttp.ClientTimeout(total=WITHIN)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            if answer.status in (200, 401):
                return Finding(CODE, "ok", f"the registry {host} answers")
            why = f"{url} answers with {answer.status}"
    except (OSError, aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or f"no answer within {WITHIN:g} s"
    mend = "see pachyderm.registry and plain_registry; if only the cluster reaches it, all is well"
    return Finding(CODE, "warning", f"the registry {host} cannot be reached from here: {why}", mend)


async def _buildkit(options: Options) -> Finding:
    if options.buildkit is None:
        return Finding(CODE, "ok", "each build brings a BuildKit of its own, rootless")
    why = await _connects(options.buildkit)
    if why is None:
        return Finding(CODE, "ok", f"buildkitd answers at {options.buildkit}")
    mend = "see pachyderm.buildkit; if only the cluster reaches it, all is well"
    return Finding(CODE, "warning", f"buildkitd cannot be reached from here at {options.buildkit}: {why}", mend)


async def _services(connection: ClusterConnection, options: Options) -> AsyncIterator[Finding]:
    """Whether the hosts that there are can be reached as the front reaches them."""
    project = connection.cluster.project
    request = pps_pb2.ListPipelineRequest(projects=[pfs_pb2.Project(name=project)])
    try:
        listed = connection.read(connection.pps.ListPipeline, request, "list the pipelines", within=WITHIN)
        names = [info.pipeline.name async for info in listed if info.pipeline.project.name == project]
        for name in names:
            found = await Pipelines(connection).find(name)
            if found is None or not found.ip or found.annotations.get(NOTEBOOK) != name:
                continue
            address = serving.upstream(options, project, name, found.ip)
            why = await _connects(address)
            if why is None:
                yield Finding(CODE, "ok", f"the notebook {name} is reached at {address}")
            else:
                mend = "pachyderm.service_address says where the front looks; an ingress or a NodePort may lead there"
                yield Finding(CODE, "error", f"the front cannot reach {name} at {address}: {why}", mend)
    except KaosError as error:
        yield _failed(error)


async def _connects(address: str) -> str | None:
    """Why no connection is accepted at an address such as "tcp://host:port"; None when somebody does."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
        if parts.hostname is None or port is None:
            return "it names no host and port"
        async with asyncio.timeout(WITHIN):
            _, writer = await asyncio.open_connection(parts.hostname, port)
        writer.close()
    except TimeoutError:
        return f"no answer within {WITHIN:g} s"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _failed(error: KaosError) -> Finding:
    return Finding(CODE, "error", error.text, error.hint)
