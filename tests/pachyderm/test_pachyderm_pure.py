"""Decisions without a server: what answers mean, which names are taken, how pipelines look, how long to wait."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.pachyderm
from kaosd.bundle import caches
from kaosd.engines.pachyderm import archive, context, specs
from kaosd.engines.pachyderm.answers import Kind, meaning, no_image, refusal
from kaosd.engines.pachyderm.backoff import LAST, waits
from kaosd.engines.pachyderm.building import blame
from kaosd.engines.pachyderm.making import cluster_of, make_engine
from kaosd.engines.pachyderm.names import (
    LABEL_MAX,
    MANIFEST,
    in_kubernetes,
    names_of,
    refused_because,
    secret_of,
)
from kaosd.engines.pachyderm.options import Options
from kaosd.errors import BuildFailed, ConfigError
from kaosd.hosted import pod, podtree
from kaosd.settings import PachydermTable
from tests.engines.conftest import Files
from tests.pachd.pfs import check_path
from tests.pachd.pps import LIMIT
from tests.pachd.state import Fault
from tests.pachyderm.reconnecting import DAEMONS, OUTAGES, WAYS, load

TESTS = Path(__file__).parents[1]
OPTIONS = Options(registry="registry.test/team", buildkit="tcp://buildkitd:1234", registry_secret="push")
ORDER = specs.HostOrder("mnist", "ada", "ws", "r/mnist@sha256:0", "c0ffee", "/mnist/", "kaosd-mnist-1", 2.0, "4Gi", 1)


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("NOT_FOUND", "repo default/x not found", Kind.ABSENT),
        ("NOT_FOUND", "project team not found", Kind.PROJECT),
        ("NOT_FOUND", 'cannot find project "team": get project by name: project "team" not found', Kind.PROJECT),
        ("NOT_FOUND", "repo (id=0, project=default, name=source-project, type=user) not found", Kind.ABSENT),
        ("NOT_FOUND", "branch (id=0, branch=default/source-secret@master) not found", Kind.ABSENT),
        ("NOT_FOUND", "repo default/source-secret not found", Kind.ABSENT),
        ("NOT_FOUND", 'pipeline "default/license" not found', Kind.ABSENT),
        ("ALREADY_EXISTS", 'pipeline "default/license" already exists', Kind.EXISTS),
        ("ALREADY_EXISTS", "repo default/x already exists", Kind.EXISTS),
        ("UNKNOWN", 'pipeline "x" cannot be created because a repo with the same name already exists', Kind.EXISTS),
        ("UNAUTHENTICATED", "provided auth token is corrupted or has expired", Kind.TOKEN),
        ("PERMISSION_DENIED", "ada is not authorized to perform this operation", Kind.FORBIDDEN),
        ("UNAVAILABLE", "commit x@1 not finished", Kind.OPEN),
        ("NOT_FOUND", "error running request 2 of 2: repo default/x not found", Kind.ABSENT),
        ("UNKNOWN", "error running request 1 of 2: Stream removed", Kind.UNREACHABLE),
        ("UNKNOWN", 'no pods belonging to the rc "default-x-v1" were found', Kind.NO_LOGS),
        (
            "UNKNOWN",
            'container "user" in pod "default-x-v1-abcde" is waiting to start: PodInitializing',
            Kind.WAITING,
        ),
        (
            "UNKNOWN",
            "repo default/source-x cannot be deleted because it's in the direct provenance of [default/build-x@master]",
            Kind.IN_USE,
        ),
        ("UNKNOWN", "parent commit x@1 has not been finished", Kind.OPEN),
        ("UNKNOWN", "commit x@1 has already been finished", Kind.CLOSED),
        ("UNKNOWN", "no pods belonging to the rc default-x-v1 were found", Kind.NO_LOGS),
        ("UNKNOWN", "missing Kubernetes secret push", Kind.SECRET),
        ("UNKNOWN", 'failed to get secret: secrets "push" not found', Kind.SECRET),
        ("UNKNOWN", LIMIT.format(16, 16), Kind.LIMIT),
        ("UNIMPLEMENTED", "the auth service is not activated", Kind.NO_AUTH),
        ("INTERNAL", "no authentication metadata (try logging in)", Kind.TOKEN),
        ("UNAVAILABLE", "failed to connect: Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", Kind.TLS),
        ("UNKNOWN", "the stream for job updates closed unexpectedly", Kind.UNREACHABLE),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", Kind.SLOW),
        ("UNAVAILABLE", "failed to connect to all addresses", Kind.UNREACHABLE),
        ("UNKNOWN", "Stream removed", Kind.UNREACHABLE),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (26214419 vs. 20971520)", Kind.TOO_LARGE),
        ("UNKNOWN", "path (a*) invalid: globbing characters not allowed", Kind.REFUSED),
    ],
)
def test_what_an_answer_means(code: str, details: str, kind: Kind) -> None:
    assert meaning(code, details) is kind


@pytest.mark.parametrize(
    ("reason", "lost"),
    [
        ('Back-off pulling image "r/mnist@sha256:0"', True),
        ('rpc error: code = NotFound desc = failed to pull and unpack image "r/x": failed to resolve reference', True),
        ("Error response from daemon: manifest for r/x@sha256:0 not found: manifest unknown", True),
        ('Failed to apply default image tag "r/X": couldn\'t parse image reference', True),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", False),
        ("failed to create containerd task: exec: sh: not found", False),
    ],
)
def test_whether_an_image_cannot_be_had(reason: str, lost: bool) -> None:
    assert no_image(reason) is lost


def test_a_refusal_is_one_sentence_with_what_next() -> None:
    error = refusal("UNAUTHENTICATED", "expired\n  token", address="pachd:30650", what="list the jobs")
    assert str(error) == (
        "pachd at pachd:30650 does not accept the token: expired token"
        " (log in with `pachctl auth login`, give kaosd the new token and restart it)"
    )
    assert error.retryable


@given(st.binary(min_size=1, max_size=12).filter(lambda path: not {b"", b".", b".."} & set(path.split(b"/"))))
def test_our_rule_for_names_is_that_of_pfs(path: bytes) -> None:
    try:
        check_path(path.decode("utf-8", "replace"))
        taken = True
    except Fault:
        taken = False
    assert (refused_because(path) is None) == taken


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"Untitled(1).ipynb", "has ("),
        (b"a+b.csv", "has +"),
        ("naïve.csv".encode(), "has a character outside ASCII"),
        (b"tab\there", "has a character outside ASCII"),
        (MANIFEST.encode(), "is kaosd's own name"),
        (b"fine & dandy ~=,;:%$#.txt", None),
    ],
)
def test_why_a_name_is_refused(path: bytes, why: str | None) -> None:
    assert refused_because(path) == why


def test_the_longest_notebook_name_fits_the_default_project() -> None:
    names = names_of("n" * 44, "default")
    assert len(f"default-{names.host}-v99-user") <= LABEL_MAX
    assert len(f"default-{names.build}-v99") <= LABEL_MAX


@pytest.mark.parametrize(
    ("notebook", "project", "told"),
    [
        ("n" * 44, "production", r"too long for Kubernetes .shorten one of them by 2 characters"),
        ("n", "9lives", "'9lives' is not a project of Pachyderm"),
        ("n", "a b", "'a b' is not a project of Pachyderm"),
    ],
)
def test_names_that_kubernetes_would_refuse(notebook: str, project: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        names_of(notebook, project)


def test_names_that_are_the_same_in_kubernetes() -> None:
    assert in_kubernetes("default", "A_b") == in_kubernetes("default", "a-B") != in_kubernetes("default", "ab")
    assert secret_of("A_b", "1") != secret_of("A_b", "2")
    assert secret_of("A_b", "1").startswith("kaosd-a-b-")


def test_the_same_order_is_the_same_spec_and_every_other_is_another() -> None:
    first = specs.host_request(ORDER, "default", OPTIONS)
    hashes = {specs.spec_hash(first), specs.spec_hash(specs.host_request(ORDER, "default", OPTIONS))}
    assert hashes == {first.metadata.annotations[specs.SPEC]}
    first.update = first.reprocess = True
    assert specs.spec_hash(first) in hashes
    for field, value in (("image", "other"), ("commit", "other"), ("cpu", 3.0), ("gpu", 0), ("secret", "s")):
        changed = specs.HostOrder(**{**{name: getattr(ORDER, name) for name in ORDER.__slots__}, field: value})
        assert specs.host_request(changed, "default", OPTIONS).metadata.annotations[specs.SPEC] not in hashes


def test_the_host_pipeline() -> None:
    request = specs.host_request(ORDER, "team", OPTIONS)
    assert [(one.pfs.name, one.pfs.repo, one.pfs.branch, one.pfs.glob) for one in request.input.cross] == [
        ("data-mnist", "data-mnist", "master", "/"),
        ("deployed", "build-mnist", "deployed", "/"),
    ]
    assert (request.resource_requests.cpu, request.resource_limits.memory) == (2.0, "4Gi")
    assert (request.resource_limits.gpu.type, request.resource_limits.gpu.number) == ("nvidia.com/gpu", 1)
    assert not request.resource_requests.HasField("gpu")
    assert request.transform.image == ORDER.image
    assert request.parallelism_spec.constant == 1
    assert (request.service.internal_port, request.service.type) == (8888, "ClusterIP")
    assert request.transform.secrets[0].mount_path == "/kaosd/token"
    assert request.transform.env["KAOS_DATA"] == "/pfs/data-mnist"
    assert specs.order_in(request.metadata.annotations) == ORDER
    assert specs.is_ours(request.metadata.annotations, "mnist", "ada")
    assert not specs.is_ours(request.metadata.annotations, "mnist", "bob")
    assert specs.order_in({specs.ORDER: "[]"}) is None


def test_the_build_pipeline_with_a_buildkitd() -> None:
    request = specs.build_request("Mnist", "ada", "team", OPTIONS)
    env = request.transform.env
    assert (env["KAOSD_BUILDCTL"], env["BUILDKIT_HOST"]) == ("buildctl", "tcp://buildkitd:1234")
    assert (env["KAOSD_IMAGE"], env["DOCKER_CONFIG"]) == ("registry.test/team/mnist", "/kaosd/registry")
    assert [mount.name for mount in request.transform.secrets] == ["push"]
    assert (request.pod_patch, request.autoscaling, request.datum_tries) == ("", True, 1)
    assert list(request.transform.cmd[:2]) == ["sh", "-c"]
    assert not request.transform.stdin


def test_the_build_pipeline_without_one_brings_its_own_rootless() -> None:
    request = specs.build_request("mnist", "ada", "team", Options(registry="r", plain_registry=True))
    assert request.transform.env["KAOSD_BUILDCTL"] == "buildctl-daemonless.sh"
    assert request.transform.env["KAOSD_INSECURE"] == ",registry.insecure=true"
    assert "BUILDKIT_HOST" not in request.transform.env
    patch = json.loads(request.pod_patch)
    assert patch[0]["value"]["runAsUser"] == 1000
    assert request.metadata.annotations["container.apparmor.security.beta.kubernetes.io/user"] == "unconfined"
    assert not request.transform.user


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["#5 ERROR: No matching distribution found for nope", "------", "error: failed to solve: exit code: 1"],
         "#5 ERROR: No matching distribution found for nope"),
        (["step", "error: failed to solve: registry said no"], "error: failed to solve: registry said no"),
        (["one", "two"], "two"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_line_to_blame(lines: list[str], told: str) -> None:
    assert blame(lines) == told


def test_an_archive_is_the_same_bytes_whenever_and_wherever_it_is_made(tmp_path: Path) -> None:
    packed = []
    for place, names in ((tmp_path / "a", ["z", "b/run.sh"]), (tmp_path / "b", ["b/run.sh", "z"])):
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(name)
        (place / "b/run.sh").chmod(0o700)
        (place / "link").symlink_to("z")
        (place / "ü\udcff").write_text("")
        file = io.BytesIO()
        archive.write(place, file)
        packed.append(file.getvalue())
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as found:
        members = {member.name: member for member in found}
    assert list(members) == ["b", "b/run.sh", "link", "z", "ü\udcff"]
    assert (members["b/run.sh"].mode, members["z"].mode, members["link"].linkname) == (0o755, 0o644, "z")


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"sxi", b"six"), (b"", b"x"), (bytes(1 << 20), bytes((1 << 20) - 1) + b"\1"), (b"a\n" * 9, b"b\n" * 9)],
)
def test_an_edit_of_the_same_length_gets_another_time(tmp_path: Path, before: bytes, after: bytes) -> None:
    """Whatever compares by size, time and mode sees each change of a file, and none where there is none."""
    times = []
    for content in (before, after, before):
        (tmp_path / "bundle").mkdir(exist_ok=True)
        (tmp_path / "bundle" / "requirements.txt").write_bytes(content)
        (tmp_path / "bundle" / "same").write_text("same")
        file = io.BytesIO()
        archive.write(tmp_path / "bundle", file)
        with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as packed:
            times.append({member.name: member.mtime for member in packed})
    assert times[0] == times[2]
    assert times[0]["requirements.txt"] != times[1]["requirements.txt"]
    assert times[0]["same"] == times[1]["same"]
    assert all(0 < one < 1_500_000_000 for one in times[0].values())


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_thousand_daemons_that_lose_pachd_together_do_not_come_back_together(outage: float) -> None:
    """All are back within the longest wait, and no second sees many more of them than its share."""
    ours, doubled, steady = (load(outage, ways) for ways in WAYS.values())
    assert ours.returned == doubled.returned == steady.returned == DAEMONS
    assert ours.last <= LAST
    assert ours.back < DAEMONS / min(outage, LAST) * 4
    assert ours.back < doubled.back == steady.back == DAEMONS
    print(f"away for {outage:g} s: {ours} with jitter, {doubled} without")  # noqa: T201


def test_waits_double_up_to_a_bound() -> None:
    assert list(islice(waits(lambda _low, high: high), 8)) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_cluster_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    (tmp_path / "ca").write_text("PEM")
    settings = PachydermTable(
        address="grpcs://pachd:443", token_file=str(tmp_path / "token"), ca_file=str(tmp_path / "ca"), project="team"
    )
    cluster = cluster_of(settings, {})
    assert (cluster.address, cluster.project, cluster.token, cluster.roots) == ("pachd:443", "team", "abc", b"PEM")
    assert "abc" not in repr(cluster) + repr(settings)


def test_a_cluster_from_the_context_of_pachctl(tmp_path: Path) -> None:
    context = {"pachd_address": "grpc://there:30650", "session_token": "t", "project": "p", "server_cas": "UEVN"}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"v2": {"active_context": "one", "contexts": {"one": context}}}))
    cluster = cluster_of(PachydermTable(), {"PACH_CONFIG": str(config)})
    assert (cluster.address, cluster.project, cluster.token, cluster.roots) == ("there:30650", "p", "t", b"PEM")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (PachydermTable(), "pachyderm.registry is missing .write where images are pushed to"),
        (PachydermTable(registry="r"), "pachyderm.address is missing, and pachctl has no active context"),
        (
            PachydermTable(registry="r", address="p:1", token_file="/no/such"),
            "pachyderm.token_file: /no/such cannot be read",
        ),
    ],
)
def test_what_is_missing_is_told(settings: PachydermTable, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        make_engine(settings, tmp_path, {"HOME": str(tmp_path)})


def test_a_broken_context_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"config.json names no active context"):
        cluster_of(PachydermTable(), {"PACH_CONFIG": str(tmp_path / "config.json")})


def test_each_of_the_fifteen_has_a_test_that_exists() -> None:
    named = re.findall(r"\btest_\w+", tests.pachyderm.__doc__ or "")
    modules = ("pachyderm/*.py", "engines/test_pachyderm.py", "e2e/test_pachyderm_whole.py")
    texts = "".join(path.read_text() for module in modules for path in TESTS.glob(module))
    assert len(re.findall(r"^ ?\d+\. ", tests.pachyderm.__doc__ or "", re.MULTILINE)) == 15
    assert [name for name in named if f"def {name}(" not in texts] == []


@pytest.mark.parametrize(
    ("requirements", "code_first"),
    [
        ("six\n", False),
        ("six>=1 # -e .\nnumpy\n", False),
        ("-e .\n", True),
        ("six\n  --editable ./lib\n", True),
        ("-r more.txt\n", True),
        ("-c limits.txt\nsix\n", True),
        ("--find-links wheels\n", True),
        ("./wheels/a.whl\n", True),
        ("a @ file:wheels/a.whl\n", True),
    ],
)
def test_code_comes_before_requirements_only_where_they_name_it(
    tmp_path: Path, requirements: str, code_first: bool
) -> None:
    (tmp_path / "requirements.txt").write_text(requirements)
    lines = [line for line in context.usual(tmp_path, "requirements.txt").splitlines() if line and line[0] != "#"]
    install, code = (next(n for n, line in enumerate(lines) if line.startswith(one)) for one in ("RUN pip", "ADD . "))
    assert (code < install) == code_first
    assert any(line.startswith("COPY requirements.txt") for line in lines) != code_first


def test_the_image_gets_kaosds_part_after_all_that_the_bundle_asks_for() -> None:
    own = "# syntax=docker/dockerfile:1.2\nFROM python:3.11\nRUN true\nUSER ada"
    lines = context.hosting(own).splitlines()
    assert lines[1:4] == ["FROM python:3.11", "RUN true", "USER ada"]
    assert "COPY --from=kaosd . /kaosd/" in lines[4:]
    assert not any("syntax" in line for line in lines)  # that frontend knows no further contexts
    kept = "# syntax=docker/dockerfile:1\nFROM x\n"
    assert context.hosting(kept).startswith(kept)


def test_what_build_gets_says_what_it_is_and_lists_the_code(tmp_path: Path) -> None:
    inputs = Files(
        {"model/requirements.txt": "six\n", "model/lib/a.py": "1", "Dockerfile": "FROM x\n", ".dockerignore": "b"}
    )
    context.lay_out(inputs, tmp_path)
    assert json.loads((tmp_path / "host" / "manifest.json").read_text()) == {"environment": inputs.digest}
    listed = (tmp_path / "host" / "context").read_bytes().split(b"\0")
    assert listed == [b".dockerignore", b"lib/a.py", b"requirements.txt"]
    assert (tmp_path / "Dockerfile").read_text().startswith("FROM x\n")
    assert (tmp_path / "context" / "lib" / "a.py").read_text() == "1"
    assert (tmp_path / "host" / "hosted" / "pod.py").is_file()


def test_a_bundle_that_no_image_is_made_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"makes no image out of .*pyproject.toml .write a Dockerfile"):
        context.lay_out(Files({"pyproject.toml": '[project]\nname = "a"\nversion = "1"\n'}), tmp_path)


def test_build_follows_the_environment_alone_and_the_trial_what_was_built() -> None:
    build = specs.build_request("mnist", "ada", "default", OPTIONS)
    trial = specs.try_request("mnist", "ada", "default", OPTIONS, "r/mnist@sha256:0")
    host = specs.host_request(ORDER, "default", OPTIONS)
    assert (build.input.pfs.repo, build.input.pfs.branch) == ("source-mnist", specs.ENVIRONMENT)
    assert (trial.input.pfs.repo, trial.pipeline.name) == ("build-mnist", "try-mnist")
    assert {(one.pfs.repo, one.pfs.branch) for one in host.input.cross} == {
        ("data-mnist", "master"),
        ("build-mnist", specs.DEPLOYED),
    }
    assert specs.is_ours(trial.metadata.annotations, "mnist", "ada")
    assert json.loads(trial.pod_patch)[0]["path"] == "/affinity"


def test_hosts_and_this_machine_agree_on_what_is_a_cache() -> None:
    assert podtree.CACHES == caches.CACHES


def test_a_pod_that_is_new_holds_no_code_of_the_image_and_keeps_what_the_build_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, image = tmp_path / "root", tmp_path / "image"
    for path in ("train.py", "lib/deep/a.py", "lib/made.so", "made/by/build"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    image.mkdir()
    (image / "context").write_bytes(b"lib/deep/a.py\0train.py\0gone.py")
    monkeypatch.setattr(pod, "_IMAGE", str(image))
    pod._clear(os.fsencode(root))
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == [
        "lib", "lib/made.so", "made", "made/by", "made/by/build",
    ]  # fmt: skip
