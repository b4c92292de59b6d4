"""Small parts of the docker engine: what a build's failure means, where the engine is, what is brought. No engine."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import io
import json
import socket
import tarfile
from pathlib import Path

import docker
import pytest
from aiohttp import web
from conftest import SPEC, Files, Lines, make_home

from kaosd import proc
from kaosd.engines.base import Order
from kaosd.engines.docker import building, connection, examining, host, limits, place, seed
from kaosd.engines.docker.building import Heard
from kaosd.engines.docker.connection import EngineConnection, candidates, choose, refusal, unreachable
from kaosd.engines.docker.dockerfile import failure, instructions, labelled, named, refuse_buildkit
from kaosd.engines.docker.facts import EngineFacts, is_podman
from kaosd.engines.docker.host import user, variables
from kaosd.errors import BuildFailed, EngineError, EngineUnavailable
from kaosd.model import DataMode, Environment, NotebookSpec, Resources

TEXT = "ARG V=3\nFROM python:3.11\n# a comment\nRUN one \\\n    # another\n    two\n\nRUN pip install -r x\n"


def test_instructions_begin_where_their_first_line_is() -> None:
    assert [(one.line, one.text) for one in instructions(TEXT)] == [
        (1, "ARG V=3"),
        (2, "FROM python:3.11"),
        (4, "RUN one two"),
        (8, "RUN pip install -r x"),
    ]


def test_each_stage_begins_with_our_labels_and_lines_are_told_as_they_were() -> None:
    text = "FROM a AS one\nRUN x\nFROM \\\n  b\nRUN y\n"
    assert labelled(text, {"o": "1"}) == "FROM a AS one\nLABEL o=1\nRUN x\nFROM \\\n  b\nLABEL o=1\nRUN y\n"
    for number, original in ((1, 1), (3, 2), (4, 3), (7, 5)):
        told = failure(text, [], f"dockerfile parse error line {number}: no")
        assert told.text == f"Dockerfile:{original}: no"


@pytest.mark.parametrize(
    ("instruction", "what"),
    [
        ("RUN --mount=type=cache,target=/x pip", "--mount"),
        ("run --network=none pip", "--network"),
        ("RUN --network=none --mount=type=ssh pip", "--mount"),
        ("RUN <<EOF\nFROM b\nEOF", "a here-document"),
        ("RUN cat <<-'END' >/x\nFROM b\n\tEND", "a here-document"),
        ("COPY --from=one --chmod=755 a b", "--chmod"),
        ("ADD --checksum=sha256:0 a b", "--checksum"),
        ("COPY <<EOF /x\nEOF", "a here-document"),
    ],
)
def test_what_only_buildkit_reads_is_found(instruction: str, what: str) -> None:
    with pytest.raises(BuildFailed, match=f"^Dockerfile:2: .*: {what} needs BuildKit"):
        refuse_buildkit(f"FROM a\n{instruction}\n")


def test_lines_of_a_here_document_are_no_instructions() -> None:
    text = "FROM a\nRUN <<ONE cat - <<TWO >/x\nFROM b\nONE\nFROM c\nTWO\nFROM d\nRUN echo $((1 <<2)) <<<EOF\nRUN y\n"
    assert [one.line for one in instructions(text)] == [1, 2, 7, 8, 9]
    assert labelled(text, {"o": "1"}).count("LABEL o=1") == 2


def test_what_docker_reads_itself_is_let_pass() -> None:
    refuse_buildkit(
        "# syntax=docker/dockerfile:1\nFROM --platform=linux/amd64 a\nCOPY --from=a --chown=1 b c\nRUN cat <x\n"
    )


@pytest.mark.parametrize(
    ("output", "message", "kind", "told"),
    [
        (
            ["Step 4/4 : RUN pip install -r x", "Collecting y", "ERROR: No matching distribution found for y"],
            "The command '/bin/sh -c pip install -r x' returned a non-zero code: 1",
            BuildFailed,
            "Dockerfile:8: RUN pip install -r x: No matching distribution found for y",
        ),
        (
            ["STEP 3/3: RUN one     two", "sh: one: not found"],  # as Podman says it, numbered from FROM
            "building at STEP: exit status 127",
            BuildFailed,
            "Dockerfile:4: RUN one two: sh: one: not found",
        ),
        (
            ["Step 4/4 : RUN pip install -r x", "WARNING: Retrying: NewConnectionError('x')", "ERROR: No matching y"],
            "code 1",
            EngineUnavailable,
            "Dockerfile:8: RUN pip install -r x: the network failed: WARNING: Retrying: NewConnectionError('x')",
        ),
        (
            ["Step 2/4 : FROM python:3.11"],
            "pull access denied for python, repository does not exist or may require 'docker login'",
            BuildFailed,
            "Dockerfile:2: FROM python:3.11: there is no image python:3.11",
        ),
        (
            ["Step 2/4 : FROM python:3.11"],
            'Get "https://registry-1/v2/": dial tcp: lookup registry-1: no such host',
            EngineUnavailable,
            "Dockerfile:2: FROM python:3.11: the registry of python:3.11 cannot be reached",
        ),
        ([], "dockerfile parse error line 4: unknown instruction: FORM", BuildFailed, "Dockerfile:3: unknown"),
        (
            ["Step 3/4 : RUN one two"],
            "write /x: no space left on device",
            EngineUnavailable,
            "the disk of the container engine is full",
        ),
    ],
)
def test_a_failed_build_is_one_sentence(output: list[str], message: str, kind: type[EngineError], told: str) -> None:
    error = failure(TEXT, output, message)
    assert type(error) is kind
    assert str(error).startswith(told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("\x1b[1;32mdone\x1b[0m", ["done"]),
        ("10 %\r50 %\r100 %", ["100 %"]),
        ("10 %\r", ["10 %"]),
        ("a" * 65536, ["a" * 65536]),  # told at once: it is matched in the event loop
        ("\x1b[" + "1;" * 30000, ["\x1b[" + "1;" * 30000]),
    ],
)
def test_a_line_of_a_build_is_told_as_a_terminal_would_show_it(tmp_path: Path, line: str, told: list[str]) -> None:
    log = Lines(tmp_path / "build.log")
    Heard(log).line(json.dumps({"line": line}))
    assert log.lines == told


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_dockerfile_and_ignore_rules_are_read_by_their_mark(tmp_path: Path, encoding: str) -> None:
    files = {"Dockerfile": "FROM a\r\nRUN größe\r\n", ".dockerignore": "*.csv\r\n!größe.csv\r\n"}
    encoded = {path: text.encode(encoding) for path, text in files.items()}
    assert (
        building._lay_out(Files({"model/requirements.txt": "", **encoded}), tmp_path, {}, {"o": "1"})
        == files["Dockerfile"]
    )
    model = tmp_path / "bundle/model"
    assert (model / ".kaosd-dockerfile").read_text("utf-8") == "FROM a\nLABEL o=1\nRUN größe\n"
    assert (model / ".dockerignore").read_text("utf-8").split() == ["*.csv", "!größe.csv", ".kaosd-dockerfile"]


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_a_dockerfile_that_is_no_text_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildFailed, match=rf"^{name} is not UTF-8 in line 2; save it as UTF-8"):
        building._lay_out(Files({"model/requirements.txt": "", name: b"FROM a\n# \xe9"}), tmp_path, {}, {})


def test_a_failure_in_a_dockerfile_that_nobody_wrote_names_the_file_that_asked_for_the_step() -> None:
    text = "FROM a\nRUN apt-get install \\\n    no-such\nRUN pip install -r r.txt\n"
    origins = {1: "runtime.txt:1", 2: "apt.txt", 4: "r.txt"}
    for output, message, said in (
        (
            ["Step 2/3 : RUN apt-get install     no-such", "E: Unable to locate it"],
            "code 1",
            "apt.txt: Unable to locate it",
        ),
        (["Step 3/3 : RUN pip install -r r.txt", "ERROR: No x"], "code 1", "r.txt: No x"),
        (["Step 1/3 : FROM a"], "manifest unknown", "runtime.txt:1: there is no image a"),
    ):
        assert named(text, origins, failure(text, output, message).text) == said
    assert named(text, origins, "the disk is full") == "the disk is full"


def test_where_the_engine_is_looked_for() -> None:
    assert candidates("/a.sock", {"DOCKER_HOST": "unix:///b"}, 7) == ("unix:///a.sock",)
    assert candidates(None, {"DOCKER_HOST": "unix:///b"}, 7) == ("unix:///b",)
    usual = candidates(None, {}, 7)
    assert usual[0] == "unix:///var/run/docker.sock"
    assert "unix:///run/user/7/podman/podman.sock" in usual


def test_one_that_may_be_used_is_preferred_and_a_remote_one_refused() -> None:
    two = ("unix:///a", "unix:///b")
    assert choose(two, lambda path: path == "/b", lambda _: True) == "unix:///b"
    assert choose(two, lambda _: False, lambda path: path == "/a") == "unix:///a"
    with pytest.raises(EngineUnavailable, match="there is no container engine at /a or /b"):
        choose(two, lambda _: False, lambda _: False)
    with pytest.raises(EngineUnavailable, match="tcp://there is not on this machine"):
        choose(("tcp://there",), lambda _: True, lambda _: True)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("PermissionError(13, 'Permission denied')", "you may not use the container engine at /a"),
        ("FileNotFoundError(2, 'No such file or directory')", "there is no container engine at /a"),
        ("ConnectionRefusedError(111, 'Connection refused')", "the container engine at /a does not run"),
        ("Read timed out. (read timeout=120)", "the container engine at /a does not answer"),
        ("boom", "the container engine at /a cannot be reached: boom"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_one_sentence(error: str, told: str) -> None:
    assert unreachable("unix:///a", OSError(error)).text == told


def test_what_the_engine_refuses() -> None:
    assert refusal("mkdir x: no space left on device").text == "the disk of the container engine is full"
    assert "no GPU runtime" in refusal('could not select device driver "nvidia" with capabilities: [[gpu]]').text
    assert refusal("odd").retryable


PODMAN_VERSION = {"Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}


def facts(**changes: object) -> EngineFacts:
    found = EngineFacts.of("unix:///a", {"MemTotal": 9, "ServerVersion": "20.10"}, {}, None)
    return dataclasses.replace(found, **changes)


def test_what_docker_says_of_itself() -> None:
    rootless = {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless", "name=selinux"], "MemTotal": 5}
    found = EngineFacts.of("a", rootless | {"MemoryLimit": False, "CpuCfsQuota": False, "CgroupVersion": "1"}, {}, None)
    assert (found.podman, found.rootless, found.selinux, found.desktop) == (False, True, True, False)
    assert (found.memory, found.unlimited) == (5, ("memory", "cpu"))
    remapped = EngineFacts.of("a", {"SecurityOptions": ["name=userns"]}, {}, None)
    assert (remapped.remapped, remapped.rootless) == (True, False)
    assert EngineFacts.of("a", {"OperatingSystem": "Docker Desktop"}, {}, None).desktop
    assert (facts().rootless, facts().unlimited, facts().version) == (False, (), "Docker 20.10")


@pytest.mark.parametrize(
    ("security", "controllers", "rootless", "unlimited"),
    [
        ({"rootless": False}, [], False, ()),  # as root on version 1 it names no controllers, and has them all
        ({"rootless": True}, [], True, ("memory", "cpu")),
        ({"rootless": True}, ["cpu", "memory", "pids"], True, ()),
        ({"rootless": True}, ["memory", "pids"], True, ("cpu",)),
    ],
)
def test_podman_says_only_in_its_own_answer_that_it_is_rootless(
    security: dict[str, bool], controllers: list[str], rootless: bool, unlimited: tuple[str, ...]
) -> None:
    assert is_podman(PODMAN_VERSION)
    assert not is_podman({"Components": [{"Name": "Engine"}]})
    libpod = {"host": {"security": security, "cgroupControllers": controllers}, "version": {"Version": "4.3.1"}}
    info = {"MemoryLimit": True, "CpuCfsQuota": True, "SecurityOptions": ["name=seccomp"]}
    found = EngineFacts.of("a", info, PODMAN_VERSION, libpod)
    assert (found.podman, found.rootless, found.unlimited) == (True, rootless, unlimited)
    assert found.version == "Podman 4.3.1"


def test_limits_are_always_given_because_an_update_takes_none_away() -> None:
    given = limits.options(Resources(cpu=0.5, memory="1Gi"), facts())
    assert (given["cpu_quota"], given["mem_limit"], given["memswap_limit"]) == (50_000, 2**30, 2**30)
    none = limits.options(Resources(), facts())
    assert (none["cpu_quota"], none["mem_limit"]) == (-1, 9)


def test_limits_that_an_engine_cannot_hold_are_not_asked_for_but_told() -> None:
    some, none = facts(unlimited=("cpu",)), facts(unlimited=("memory", "cpu"), rootless=True, groups="1")
    wanted = Resources(cpu=0.5, memory="1Gi")
    assert limits.options(wanted, some).keys() == {"mem_limit", "memswap_limit"}
    assert limits.options(wanted, none) == {}
    assert limits.unheld(wanted, facts()) == ""
    assert limits.unheld(Resources(memory="1Gi"), some) == ""
    assert limits.unheld(wanted, some) == (
        "cpu of the notebook is not limited: the kernel gives Docker 20.10 no control group for that"
    )
    assert limits.unheld(wanted, none) == (
        "memory and cpu of the notebook are not limited: Docker 20.10 is rootless, and this machine has control groups"
        " of version 1"
    )


ROOMY = 10**12


@pytest.mark.parametrize(
    ("changes", "free", "told", "mend"),
    [
        ({"version": "Docker 19.03.1"}, ROOMY, "the oldest that kaosd is tested with is 20.10", "upgrade Docker"),
        ({"version": "Podman 4.2", "podman": True}, ROOMY, "tested with is 4.3", "upgrade Podman"),
        (
            {"unlimited": ("memory",)},
            ROOMY,
            "memory of notebooks cannot be limited: the kernel gives Docker 20.10 no control group for that",
            "enable the memory and cpu control groups of the kernel (cgroup_enable=memory), and restart",
        ),
        (
            {"unlimited": ("memory", "cpu"), "rootless": True, "groups": "1"},
            ROOMY,
            "memory and cpu of notebooks cannot be limited: Docker 20.10 is rootless, and this machine has control",
            "boot with systemd.unified_cgroup_hierarchy=1, or use an engine that runs as root",
        ),
        (
            {"unlimited": ("cpu",), "rootless": True, "groups": "v2"},
            ROOMY,
            "cpu of notebooks cannot be limited: Docker 20.10 is rootless, and was given no control group for that",
            "have systemd delegate them: Delegate=cpu cpuset io memory pids in a drop-in of user@.service",
        ),
        ({"driver": "vfs"}, ROOMY, "storage driver vfs", "have Docker use the storage driver overlay"),
        ({"root": "/images"}, 10**9, "1.0 GB free for images at /images", "make room: docker system prune"),
        (
            {"root": "/images", "podman": True, "version": "Podman 5.0"},
            10**9,
            "1.0 GB free for images at /images",
            "make room: podman system prune",
        ),
    ],
)
def test_doctor_tells_what_is_wrong_with_an_engine(changes: dict[str, object], free: int, told: str, mend: str) -> None:
    assert {one.severity for one in examining.findings(facts(), ROOMY)} == {"ok"}
    assert {one.severity for one in examining.findings(facts(), None)} == {"ok"}
    (found,) = [one for one in examining.findings(facts(**changes), free) if one.severity != "ok"]
    assert told in found.text
    assert (found.severity, found.mend) == ("warning", mend)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker's library closes by collection
async def test_doctor_tells_of_an_engine_that_does_not_answer(short: Path) -> None:
    path = str(short / "d.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        assert await finding(path) == ("error", f"the container engine at {path} does not run")
        listening.listen()
        hung = EngineConnection(path, {})
        (found,) = await examining.examine(hung, within=0.5)
        assert found.text == f"the container engine at {path} does not answer within 0.5 s"
    hung._pool.shutdown(wait=True)
    gc.collect()
    assert await finding(f"{path}x") == ("error", f"there is no container engine at {path}x")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker's library closes by collection
async def test_work_for_an_engine_that_hangs_is_given_up_also_when_it_is_cancelled(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ASK_EVERY", 0.05)
    monkeypatch.setattr(connection, "_SILENT", 0.2)
    path = str(short / "d.sock")
    hung = EngineConnection(path, {})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with pytest.raises(EngineUnavailable, match=f"the container engine at {path} does not answer"):
            await hung.call(lambda client: client.info())
        cancelled = asyncio.ensure_future(hung.call(lambda client: client.info()))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        done: list[str] = []
        for _ in range(2 * connection._THREADS):  # more than there are threads: some never begin
            with pytest.raises(EngineUnavailable):
                await hung.call(lambda client: done.append("too late"))
    hung._pool.shutdown(wait=True)
    hung._asking.shutdown(wait=True)
    gc.collect()
    assert done == []


async def finding(path: str) -> tuple[str, str]:
    """The one thing that is told of an engine that is not there."""
    away = EngineConnection(path, {})
    (found,) = await examining.examine(away, within=0.5)
    away.close()
    assert found.mend
    return found.severity, found.text


def packed(**files: str) -> seed.Pieces:
    """Files as the engine packs the directory `program`, in small pieces; a value "-> x" is a link to x."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"program/{name}")
            if text.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, text[3:]
                archive.addfile(member)
            else:
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
    content = stream.getvalue()
    return seed.Pieces(content[at : at + 700] for at in range(0, len(content), 700))


def test_only_what_the_build_made_is_brought_and_only_that_replaced(tmp_path: Path) -> None:
    work, listing, outside = tmp_path / "work", tmp_path / "list.json", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (work / "away").symlink_to(outside)
    (work / "file").write_text("a person's")
    context = frozenset({"code.py"})
    first = packed(
        **{"a": "1", "b": "1", "c": "1", "code.py": "x", "l": "-> a", "away/x": "1", "file/x": "1", "../e": "1"}
    )
    assert seed.bring(first, context, work, listing) == 4
    assert sorted(json.loads(listing.read_text())) == ["a", "b", "c", "l"]
    assert not (work / "code.py").exists()
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "e").exists()
    (work / "b").write_text("changed by a person")
    assert seed.bring(packed(a="2", b="2"), context, work, listing) == 1
    assert (work / "a").read_text() == "2"
    assert (work / "b").read_text() == "changed by a person"
    assert not (work / "c").exists()
    assert not (work / "l").is_symlink()


def test_who_works_in_a_container_is_the_person_outside() -> None:
    assert user(facts(rootless=True), (1000, 1000)) == (0, 0)  # the person is root inside
    assert user(facts(), (1000, 1001)) == (1000, 1001)


def test_a_user_that_the_image_does_not_know_has_a_home_and_a_name(short: Path) -> None:
    home = make_home(short / "n")
    order = Order(SPEC, home, Environment("0" * 64, "x", "x"), "/x/", home.logs / "host.log", ())
    assert variables(order, (1000, 1000))["HOME"] == str(home.jupyter / "home")
    assert "HOME" not in variables(order, (0, 0))
    assert variables(order, (0, 0))["DATA_REPO"] == f"data-{SPEC.name}"


def test_data_that_is_used_where_it_is_is_mounted_read_only(short: Path) -> None:
    home, data = make_home(short / "n"), short / "data"
    data.mkdir()
    spec = NotebookSpec(SPEC.name, "w", "u", data=data, data_mode=DataMode.LINK)
    order = Order(spec, home, Environment("0" * 64, "x", "x"), "/x/", home.logs / "host.log", ())
    mounted = {one.inside: one for one in place.mounts(place.Place.of(home, "0" * 8), order, "/opt/program")}
    assert mounted[str(data)].read_only
    assert (mounted["/opt/program"].outside, mounted["/opt/program"].read_only) == (str(home.work), False)


RUNS = {"Running": True, "Status": "running", "ExitCode": 0}
KILLED = {"Running": False, "Status": "exited", "ExitCode": 137}


def one_that_runs_as(pid: int, short: Path) -> host.RunningContainer:
    """A container whose first process is *pid*."""
    identity = proc.identify(pid)
    (short / "token").write_text("secret")
    (short / "s").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:  # closed at once: connections to it are refused
        listener.bind(str(short / "s"))
    return host.RunningContainer(
        container="c", name="n", pid=pid, started=identity.started if identity else 1, boot=proc.boot_id(),
        own=str(short), run=str(short), base_url="/x/", token_file=str(short / "token"), log=str(short / "log"),
        log_from=0, linked=None, gpu=0, memory=None, environment="e", server="s", started_at=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("told", "how"),
    [
        ([RUNS, RUNS, KILLED], "was killed"),
        ([RUNS, {"Running": True, "Status": "removing", "ExitCode": 0}, {}], "was removed"),
        ([{"Running": False, "Status": "exited", "ExitCode": 3}], "has ended with exit code 3"),
        ([None], "has ended, and the container engine is away"),
        ([RUNS] * 4, "has ended, and the container engine does not know how yet"),
    ],
)
async def test_how_a_container_ended_is_told_once_the_engine_knows(
    told: list[dict[str, object] | None], how: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of the end of a process first; for a moment the engine calls the container running."""
    told = list(told)

    async def inspect(*_: object) -> dict[str, object] | None:
        return told.pop(0)

    monkeypatch.setattr(host, "inspect", inspect)
    monkeypatch.setattr(host, "_LATE", 3)
    monkeypatch.setattr(host, "_POLL", 0)
    child = await asyncio.create_subprocess_exec("true")
    await child.wait()
    connection = EngineConnection(None, {})
    status = await host.probe(connection, one_that_runs_as(child.pid, short))
    connection.close()
    assert (status.alive, status.reason) == (False, f"its container n {how}")
    assert not told


@pytest.mark.parametrize(
    ("then", "alive", "how"),
    [
        (KILLED, False, "was killed"),
        ({**RUNS, "Paused": True}, True, "is paused; docker unpause n lets it continue"),
    ],
)
async def test_what_befalls_a_container_while_it_is_asked_is_told_as_what_it_is(
    then: dict[str, object], alive: bool, how: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a JupyterLab that cannot be reached any more: that one would be stopped."""
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
    told = [RUNS, then]

    async def inspect(*_: object) -> dict[str, object]:
        if not alive and len(told) == 2 and child.stdin is not None:
            child.stdin.close()  # it ends, but not at once
        return told.pop(0)

    monkeypatch.setattr(host, "inspect", inspect)
    monkeypatch.setattr(host, "ENDING", 0 if alive else 60)
    connection = EngineConnection(None, {})
    status = await host.probe(connection, one_that_runs_as(child.pid, short))
    connection.close()
    if child.stdin is not None:
        child.stdin.close()
    await child.wait()
    assert (status.alive, status.answering, status.reason) == (alive, False, f"its container n {how}")
    assert not told


async def test_a_container_that_another_one_is_removing_is_waited_for(short: Path) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs}")
        if request.method == "DELETE":
            text = f"removal of container {request.match_info['name']} is already in progress"
            return web.json_response({"message": text}, status=409)
        return web.json_response({"StatusCode": 0})

    app = web.Application()
    app.router.add_delete("/v1.41/containers/{name}", answer)
    app.router.add_post("/v1.41/containers/{name}/wait", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(short / "d")).start()
    client = docker.APIClient(base_url=f"unix://{short / 'd'}", version="1.41")
    await asyncio.to_thread(connection.remove_container, client, "n-1")
    client.close()
    await runner.cleanup()
    assert asked == [
        "DELETE /v1.41/containers/n-1?v=True&link=False&force=True",
        "POST /v1.41/containers/n-1/wait?condition=removed",
    ]
