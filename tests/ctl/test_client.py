"""The client against a real socket: answers, refusals, silence, and nobody there."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kaosd.ctl import client
from kaosd.ctl.client import Client, check_owner, parse
from kaosd.ctl.failure import NOT_RUNNING, TIMED_OUT, Failure
from tests.ctl.standin import Daemon, notebook


@contextmanager
def saying(path: Path, answer: bytes) -> Iterator[None]:
    """A server that reads one request, answers these bytes and closes; with none it stays silent."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            if answer:
                connection.sendall(answer)
            else:
                connection.recv(1)  # until the client gives up

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join(30)
    listener.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ],
)
def test_bodies_with_a_length_chunked_and_to_the_end(answer: bytes, body: bytes) -> None:
    status, _, found = parse(answer)
    assert (status, found) == (200, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_whole_is_no_answer(short: Path, answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(answer)
    if answer:
        with saying(short / "s", answer), pytest.raises(Failure, match="went away during the request") as caught:
            Client(str(short / "s")).get("/v1/status")
        assert caught.value.exit_code == NOT_RUNNING


def test_an_answer_that_is_no_json_names_the_socket_as_suspect(short: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    with saying(short / "s", answer), pytest.raises(Failure, match="not a JSON object: hi"):
        Client(str(short / "s")).get("/v1/status")


def test_silence_ends_with_one_sentence(short: Path) -> None:
    with saying(short / "s", b""), pytest.raises(Failure, match=r"does not answer \(waited 0.2 s") as caught:
        Client(str(short / "s")).get("/v1/status", timeout=0.2)
    assert caught.value.exit_code == TIMED_OUT


def test_a_socket_without_a_daemon_is_a_daemon_that_is_not_running(short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(short / "s"))
    (short / "file").touch()
    for path in (short / "s", short / "absent", short / "file", short / "file" / "below"):
        with pytest.raises(Failure, match="is not running") as caught:
            Client(str(path)).get("/v1/status")
        assert caught.value.exit_code == NOT_RUNNING
        assert "kaosctl start" in caught.value.hint


def test_a_path_that_no_socket_can_have_is_named(short: Path) -> None:
    with pytest.raises(Failure, match="path too long") as caught:
        Client(f"{short}/{'x' * 120}").get("/v1/status")
    assert caught.value.exit_code == NOT_RUNNING


@pytest.mark.parametrize(("owner", "trusted"), [(1000, True), (0, True), (1001, False), (65534, False)])
def test_only_ones_own_daemon_or_roots_is_talked_to(owner: int, trusted: bool) -> None:
    if trusted:
        check_owner(owner, 1000, "/run/s")
    else:
        with pytest.raises(Failure, match=f"served by user id {owner}"):
            check_owner(owner, 1000, "/run/s")


def test_the_owner_is_asked_of_the_kernel_before_a_byte_is_sent(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[int] = []

    def refuse(owner: int, mine: int, path: str) -> None:
        owners.append(owner)
        raise Failure("not yours")

    monkeypatch.setattr(client, "check_owner", refuse)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short / "s"))
        listener.listen()
        with pytest.raises(Failure, match="not yours"):
            Client(str(short / "s")).get("/v1/status")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b""
    assert owners == [os.geteuid()]


def test_requests_are_what_the_daemon_expects(daemon: Daemon) -> None:
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.headers))
        return web.json_response({"fine": True})

    daemon.answers["POST /v1/notebooks/n/pause"] = answer
    assert Client(str(daemon.socket)).post("/v1/notebooks/n/pause", {"ä": 1}) == {"fine": True}
    assert seen[0]["Host"] == "kaosd"
    assert seen[0]["Content-Type"] == "application/json"
    assert daemon.requests == [("POST", "/v1/notebooks/n/pause", {"ä": 1})]


def test_a_large_answer_in_chunks_comes_whole(daemon: Daemon) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'{"x": "')
        for _ in range(64):
            await response.write(b"y" * 20_000)
            await asyncio.sleep(0)
        await response.write(b'"}')
        return response

    daemon.answers["GET /v1/status"] = answer
    assert len(Client(str(daemon.socket)).get("/v1/status")["x"]) == 64 * 20_000


@pytest.mark.parametrize(
    ("answer", "text", "hint", "code"),
    [
        ((404, {"title": "Not Found", "detail": "no notebook 'x'", "hint": "look"}), "no notebook 'x'", "look", 4),
        ((409, {"title": "Conflict"}), "Conflict", "", 1),
        ((503, {}), "kaosd answered with status 503", "", 1),
        ((408, {"detail": "too slow"}), "too slow", "", 5),
    ],
)
def test_problem_documents_become_sentences(
    daemon: Daemon, answer: tuple[int, dict[str, object]], text: str, hint: str, code: int
) -> None:
    daemon.answers["GET /v1/status"] = answer
    with pytest.raises(Failure) as caught:
        Client(str(daemon.socket)).get("/v1/status")
    assert (caught.value.text, caught.value.hint, caught.value.exit_code) == (text, hint, code)


def test_another_version_is_told_once(daemon: Daemon) -> None:
    daemon.serves(notebook())
    daemon.version = "9.9.9"
    done = daemon.run("open", "notebook-mnist-ada", "--print")
    assert done.stderr.count("the daemon is 9.9.9") == 1
