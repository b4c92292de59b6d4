"""What `kaosctl doctor` asks of a cluster: is it there, does it know us, the project and the secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_pachyderm.proto.v2.pfs import pfs_pb2
from python_pachyderm.proto.v2.pps import pps_pb2

from kaosd.engines.base import Finding
from kaosd.engines.pachyderm.connection import SMOOTH, Connection
from kaosd.engines.pachyderm.options import Options
from kaosd.errors import KaosError

CODE = "pachyderm"
WITHIN = 5.0  # seconds for each question


async def examine(connection: Connection, options: Options) -> AsyncIterator[Finding]:
    """One finding after the other; the first that makes the rest pointless is the last."""
    cluster = connection.cluster
    try:
        version = await connection.version()
    except KaosError as error:
        yield _failed(error)
        return
    shown = ".".join(map(str, version))
    if version[:2] < SMOOTH:
        text = f"pachd {shown} ends a notebook's kernels as soon as data is on its way; from 2.11 on when it has come"
        yield Finding(CODE, "warning", text, "upgrade pachd to 2.11 or newer")
    else:
        yield Finding(CODE, "ok", f"pachd {shown} answers at {cluster.address}")
    project = pfs_pb2.InspectProjectRequest(project=pfs_pb2.Project(name=cluster.project))
    questions = [(connection.pfs.InspectProject, project, f"the project {cluster.project}")]
    questions += [
        (
            connection.pps.InspectSecret,
            pps_pb2.InspectSecretRequest(secret=pps_pb2.Secret(name=name)),
            f"the secret {name}",
        )
        for name in (*((options.registry_secret,) if options.registry_secret else ()), *options.pull_secrets)
    ]
    for call, request, what in questions:
        try:
            await connection.ask(call, request, f"show {what}", within=WITHIN)
        except KaosError as error:
            yield _failed(error)
        else:
            yield Finding(CODE, "ok", f"{what} is there")


def _failed(error: KaosError) -> Finding:
    return Finding(CODE, "error", error.text, error.hint)
