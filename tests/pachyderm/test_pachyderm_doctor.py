"""What `kaosctl doctor` finds out of a cluster: each check once as it should be, and once as it should not."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from python_pachyderm.proto.v2.pps import pps_pb2

from kaosd.engines.base import Finding
from kaosd.engines.pachyderm.checks import examine
from kaosd.engines.pachyderm.connection import Cluster, ClusterConnection
from kaosd.engines.pachyderm.making import make_engine
from kaosd.engines.pachyderm.names import names_of
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import Pipelines
from kaosd.engines.pachyderm.repos import Repos
from kaosd.engines.pachyderm.specs import HostOrder, host_request, repo_mark
from kaosd.settings import PachydermTable
from tests.pachd.program import Pachd, running, turned_back

TOKEN = "s3cret"


@pytest.fixture(scope="module")
def _guarded() -> Iterator[Pachd]:
    with running("--token", TOKEN) as found:
        yield found


@pytest.fixture
def guarded(_guarded: Pachd) -> Iterator[Pachd]:
    """A stand-in that asks for a token."""
    with turned_back(_guarded) as found:
        yield found


@pytest.fixture
async def registry() -> AsyncIterator[str]:
    """A registry that wants to know who asks."""
    app = web.Application()
    app.router.add_get("/v2/", _unauthorized)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def _unauthorized(_request: web.Request) -> web.Response:
    return web.json_response({}, status=401)


@pytest.fixture
def options(registry: str) -> Options:
    """All is as it should be."""
    return Options(registry=f"{registry}/team", plain_registry=True)


async def findings(cluster: Cluster, options: Options) -> list[Finding]:
    connection = ClusterConnection(cluster, deadline=5.0)
    try:
        return [one async for one in examine(connection, options)]
    finally:
        await connection.close()


def said(found: list[Finding], severity: str, *words: str) -> Finding:
    """The one finding of that severity with those words."""
    fitting = [one for one in found if one.severity == severity and all(word in one.text for word in words)]
    assert len(fitting) == 1, found
    return fitting[0]


async def test_all_is_well(guarded: Pachd, options: Options) -> None:
    found = await findings(Cluster(guarded.address, token=TOKEN), options)
    assert {one.severity for one in found} == {"ok"}
    said(found, "ok", f"pachd 2.11.6 answers at {guarded.address}, without TLS")
    said(found, "ok", "the token is that of user:ada")
    said(found, "ok", "the project default is there")
    said(found, "ok", "on the project default")
    said(found, "ok", "on the cluster")
    said(found, "ok", "the registry 127.0.0.1:", "answers")
    said(found, "ok", "a BuildKit of its own")


async def test_address(options: Options) -> None:
    found = await findings(Cluster("127.0.0.1:1"), options)
    assert len(found) == 1
    said(found, "error", "pachd at 127.0.0.1:1 cannot be reached")


async def test_tls_roots(options: Options, tmp_path: Path) -> None:
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        files = ["-keyout", str(tmp_path / name / "key.pem"), "-out", str(tmp_path / name / "cert.pem")]
        subprocess.run([*command.split(), *files], check=True, capture_output=True)
    mine, other = ((tmp_path / name / "cert.pem").read_bytes() for name in ("mine", "other"))
    pachd = Pachd(tmp_path / "p", "--tls", str(tmp_path / "mine"), credentials=grpc.ssl_channel_credentials(mine))
    try:
        address = pachd.address.replace("127.0.0.1", "localhost")
        said(await findings(Cluster(address, roots=mine), options), "ok", "answers at", "with TLS")
        wrong = said(
            await findings(Cluster(address, roots=other), options), "error", "the TLS of pachd at", "certificate"
        )
        assert "pachyderm.ca_file" in wrong.mend
    finally:
        pachd.close()


@pytest.mark.parametrize(("token", "told"), [(None, "no authentication token"), ("wrong", "corrupted or has expired")])
async def test_token(guarded: Pachd, options: Options, token: str | None, told: str) -> None:
    wrong = said(await findings(Cluster(guarded.address, token=token), options), "error", told)
    assert "pachctl auth login" in wrong.mend


async def test_token_that_ends_soon(guarded: Pachd, options: Options) -> None:
    guarded.turn(expires=7200.0)
    found = await findings(Cluster(guarded.address, token=TOKEN), options)
    said(found, "warning", "the token of user:ada is good for 2 more hours")
    guarded.turn(expires=0.0)
    said(await findings(Cluster(guarded.address, token=TOKEN), options), "error", "corrupted or has expired")


async def test_no_token_is_asked_for(pachd: Pachd, options: Options) -> None:
    found = await findings(Cluster(pachd.address), options)
    said(found, "ok", "this pachd asks for no token")
    assert not [one for one in found if "may do what is needed" in one.text]


async def test_project(guarded: Pachd, options: Options) -> None:
    found = await findings(Cluster(guarded.address, project="nowhere", token=TOKEN), options)
    assert "pachctl create project" in said(found, "error", 'project "nowhere" not found').mend


@pytest.mark.parametrize(
    ("forbidden", "where", "mend"),
    [
        ("PROJECT_CREATE_REPO", "project default", "pachctl auth set project default projectWriter user:ada"),
        ("CLUSTER_CREATE_SECRET", "cluster", "pachctl auth set cluster secretAdmin user:ada"),
        ("SECRET_DELETE", "cluster", "pachctl auth set cluster secretAdmin user:ada"),
    ],
)
async def test_permissions(guarded: Pachd, options: Options, forbidden: str, where: str, mend: str) -> None:
    guarded.turn(forbidden=[forbidden])
    found = await findings(Cluster(guarded.address, token=TOKEN), options)
    assert mend in said(found, "error", f"user:ada has no {forbidden} on the {where}").mend


@pytest.mark.parametrize(
    ("version", "severity", "told"),
    [
        ("2.7.4", "warning", "pachd 2.7.4 ends a notebook's kernels as soon as data is on its way"),
        ("2.12.0", "ok", "pachd 2.12.0 answers"),
        ("2.13.0", "error", "is version 2.13.0"),
        ("2.6.9", "error", "is version 2.6.9"),
    ],
)
async def test_version_range(tmp_path: Path, options: Options, version: str, severity: str, told: str) -> None:
    other = Pachd(tmp_path, "--version", version)
    try:
        said(await findings(Cluster(other.address), options), severity, told)
    finally:
        other.close()


async def test_registry(pachd: Pachd, registry: str) -> None:
    silent = await findings(Cluster(pachd.address), Options(registry="127.0.0.1:1/team", plain_registry=True))
    assert "plain_registry" in said(silent, "warning", "the registry 127.0.0.1:1 cannot be reached from here").mend
    encrypted = await findings(Cluster(pachd.address), Options(registry=f"{registry}/team"))
    said(encrypted, "warning", f"the registry {registry} cannot be reached from here", "ssl")
    unnamed = await findings(Cluster(pachd.address), Options(registry="team"))
    said(unnamed, "ok", "images go to team in the cluster's own default registry")


async def test_buildkit(pachd: Pachd, options: Options, registry: str) -> None:
    there = await findings(Cluster(pachd.address), replace(options, buildkit=f"tcp://{registry}"))
    said(there, "ok", f"buildkitd answers at tcp://{registry}")
    for address, why in (("tcp://127.0.0.1:1", "Connect call failed"), ("buildkitd", "it names no host and port")):
        found = await findings(Cluster(pachd.address), replace(options, buildkit=address))
        said(found, "warning", f"buildkitd cannot be reached from here at {address}", why)


async def test_secrets(pachd: Pachd, options: Options, name: str) -> None:
    connection = ClusterConnection(Cluster(pachd.address))
    for kind in ("Opaque", "kubernetes.io/dockerconfigjson"):
        secret = {"metadata": {"name": f"{name}-{kind[-4:]}"}, "type": kind, "data": {}}
        request = pps_pb2.CreateSecretRequest(file=json.dumps(secret).encode())
        await connection.ask(connection.pps.CreateSecret, request, "create")
    await connection.close()
    push, pull = f"{name}-aque", f"{name}-json"
    good = await findings(Cluster(pachd.address), replace(options, registry_secret=push, pull_secrets=(pull,)))
    said(good, "ok", f"the secret {push} is there")
    said(good, "ok", f"the secret {pull} is there")
    bad = await findings(Cluster(pachd.address), replace(options, registry_secret=pull, pull_secrets=(push,)))
    said(bad, "error", f"the secret {pull} is of type kubernetes.io", "registry_secret must be an Opaque one")
    said(bad, "error", f"the secret {push} is of type Opaque", "pull_secrets must be of type kubernetes.io")
    absent = await findings(Cluster(pachd.address), replace(options, registry_secret="no-such"))
    assert "create the secret" in said(absent, "error", 'secrets "no-such" not found').mend


async def test_service_address(pachd: Pachd, options: Options, name: str, registry: str) -> None:
    """A notebook that the front reaches, and one that it does not."""
    connection = ClusterConnection(Cluster(pachd.address))
    names = names_of(name, "default")
    for repo in (names.data, names.build):
        await Repos(connection).ensure(repo, repo_mark(name, "ada"))
    secret = {"metadata": {"name": name}, "data": {}}
    await connection.ask(
        connection.pps.CreateSecret, pps_pb2.CreateSecretRequest(file=json.dumps(secret).encode()), "create"
    )
    (pachd.place / "images" / ("0" * 64)).mkdir(parents=True, exist_ok=True)
    order = HostOrder(name, "ada", "w", f"r/x@sha256:{'0' * 64}", "c0ffee", f"/{name}/", name)
    await connection.ask(connection.pps.CreatePipeline, host_request(order, "default", options), "create")
    await _has_address(connection, name)
    await connection.close()
    there = replace(options, service_address=f"http://{registry}/{{name}}")
    said(
        await findings(Cluster(pachd.address), there),
        "ok",
        f"the notebook {name} is reached at http://{registry}/{name}",
    )
    elsewhere = replace(options, service_address="http://127.0.0.1:1/{name}")
    found = said(
        await findings(Cluster(pachd.address), elsewhere), "error", f"the front cannot reach {name} at http://127"
    )
    assert "pachyderm.service_address" in found.mend


async def _has_address(connection: ClusterConnection, name: str) -> None:
    async with asyncio.timeout(30):
        while (found := await Pipelines(connection).find(name)) is None or not found.ip:
            await asyncio.sleep(0.05)


async def test_the_context_of_pachctl_is_honoured(guarded: Pachd, tmp_path: Path, registry: str) -> None:
    """Address, token and project come from there when [pachyderm] names no address."""
    context = {"pachd_address": f"grpc://{guarded.address}", "session_token": TOKEN, "project": "default"}
    path = tmp_path / "config.json"
    settings = PachydermTable(registry=f"{registry}/t", plain_registry=True)

    def write(**changes: str) -> None:
        contexts = {"one": {**context, **changes}, "other": {"pachd_address": "grpc://127.0.0.1:1"}}
        path.write_text(json.dumps({"v2": {"active_context": "one", "contexts": contexts}}))

    async def asked(examined: Callable[[list[Finding]], object]) -> None:
        engine = make_engine(settings, tmp_path / "engine", {"PACH_CONFIG": str(path)})
        try:
            examined(await engine.examine())
        finally:
            await engine.close()

    write()
    await asked(lambda found: said(found, "ok", "the token is that of user:ada"))
    write(project="elsewhere")
    await asked(lambda found: said(found, "error", 'project "elsewhere" not found'))
    write(session_token="old")
    await asked(lambda found: said(found, "error", "corrupted or has expired"))
