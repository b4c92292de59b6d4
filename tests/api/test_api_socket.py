"""The socket's path: what may stand there, who may use it, what is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import pytest
from structlog.testing import capture_logs
from wire import request

from kaosd.api import Api
from kaosd.errors import ConfigError

STATUS = request("GET", "/v1/status")


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def sockets():
    """The sockets that this process has open."""
    links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    return sorted(target for link in links if os.path.lexists(link) and "socket:" in (target := os.readlink(link)))


def listens(path):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def test_socket_and_directory_are_private_whatever_the_umask_is(start, path):
    before = os.umask(0)
    try:
        await start()
    finally:
        os.umask(before)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


async def test_closing_leaves_no_socket_file_and_no_descriptor(daemon, path, connect, eventually):
    api = Api(daemon, path)
    before = sockets()
    await api.start()
    idle, waiting = await connect(), await connect()
    await idle.ask("GET", "/v1/status")
    await waiting.send(b"GET /v1/events?timeout=60 HTTP/1.1\r\nHost: kaosd\r\n\r\n")
    await eventually(lambda: daemon.waiting == 1)
    await api.close()
    await api.close()
    assert not path.exists()
    assert daemon.waiting == 0
    assert await idle.closed() == b""
    await waiting.closed()
    await idle.close()
    await waiting.close()
    await eventually(lambda: sockets() == before)


async def test_a_request_in_progress_is_answered_before_the_api_closes(daemon, path, connect, eventually):
    api = Api(daemon, path)
    await api.start()
    client = await connect()
    held = asyncio.Event()
    daemon.doctor = held.wait
    await client.send(request("GET", "/v1/doctor"))
    await eventually(lambda: held._waiters)
    closing = asyncio.create_task(api.close())
    await eventually(lambda: not listens(path))
    held.set()
    assert (await client.answer()).json is True
    await closing


async def test_after_closing_it_can_be_started_again(daemon, path, connect):
    for _ in range(2):
        api = Api(daemon, path)
        await api.start()
        assert (await (await connect()).ask("GET", "/v1/status")).status == 200
        await api.close()


async def test_a_second_daemon_is_refused_and_the_first_one_still_answers(api, client, daemon, path):
    with pytest.raises(ConfigError, match="another kaosd, with another state directory, listens at"):
        await Api(daemon, path).start()
    assert (await client.ask("GET", "/v1/status")).status == 200
    assert path.is_socket()


async def test_a_stale_socket_of_a_killed_daemon_is_replaced(start, connect, path):
    script = """
        import socket, sys
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(sys.argv[1])
        listening.listen()
        print("listening", flush=True)
        sys.stdin.read()
    """
    path.parent.mkdir(mode=0o700)
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
    assert path.is_socket()
    await start()
    assert (await (await connect()).ask("GET", "/v1/status")).status == 200


OBSTACLES = {
    "file": lambda path: path.write_text("precious"),
    "directory": lambda path: path.mkdir(),
    "link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "fifo": os.mkfifo,
}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES.keys())
async def test_anything_else_at_the_path_is_refused_and_kept(start, path, obstacle):
    path.parent.mkdir(mode=0o700)
    obstacle(path)
    before = path.lstat()
    with pytest.raises(ConfigError, match=r"at .*kaosd\.sock stands something that is not a socket"):
        await start()
    assert path.lstat() == before


async def test_a_directory_that_others_may_write_is_refused(start, path):
    path.parent.mkdir()
    path.parent.chmod(0o770)
    with pytest.raises(ConfigError, match="can be written by others"):
        await start()
    assert not path.exists()


async def test_a_linked_directory_is_refused(start, path, place):
    (place / "real").mkdir(mode=0o700)
    path.parent.symlink_to("real")
    with pytest.raises(ConfigError, match="is a symbolic link"):
        await start()


async def test_a_runtime_directory_that_everybody_may_write_is_refused(start, path, place):
    place.chmod(0o777)
    with pytest.raises(ConfigError, match="which is writable by everybody"):
        await start()
    place.chmod(0o1777)
    await start()


async def test_a_path_that_is_too_long_is_told(daemon, place):
    path = place / ("d" * 60) / ("s" * 60)
    size = len(str(path))
    with pytest.raises(ConfigError, match=f"has {size} bytes, and the system allows 107"):
        await Api(daemon, path).start()


async def test_a_failed_start_leaves_no_descriptor(daemon, path, api):
    before = sockets()
    with pytest.raises(ConfigError):
        await Api(daemon, path).start()
    assert sockets() == before


async def test_a_removed_socket_is_made_again(start, connect, path, eventually):
    await start(watch=0.01)
    client = await connect()
    path.unlink()
    path.parent.rmdir()
    await eventually(path.exists)
    assert (await (await connect()).ask("GET", "/v1/status")).status == 200
    assert (await client.ask("GET", "/v1/status")).status == 200
    assert mode(path) == 0o600


async def test_what_replaced_the_socket_is_told_and_kept(start, path, eventually):
    await start(watch=0.01)
    with capture_logs() as logs:
        path.unlink()
        path.write_text("precious")
        await eventually(lambda: any(entry["event"] == "socket_replaced" for entry in logs))
    assert path.read_text() == "precious"


async def test_closing_leaves_what_replaced_the_socket(daemon, path):
    api = Api(daemon, path)
    await api.start()
    path.unlink()
    path.write_text("precious")
    await api.close()
    assert path.read_text() == "precious"


async def test_a_user_that_may_not_come_in_gets_no_byte_and_one_line_of_log(start, connect, daemon):
    await start(peers=frozenset({os.geteuid() + 1}))
    with capture_logs() as logs:
        for _ in range(5):
            assert await (await connect()).closed() == b""
    assert [(entry["event"], entry["reason"], entry["uid"]) for entry in logs] == [
        ("connection_refused", "foreign user", os.geteuid())
    ]


def as_other_user(path):
    """What user 65534 gets when it asks for the status."""
    script = f"""
        import os, socket, sys
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        try:
            client.connect(sys.argv[1])
            client.sendall({STATUS!r})
            print(client.recv(100))
        except OSError as error:
            print(type(error).__name__)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if os.geteuid() == 0:  # nobody else can be another user

    async def test_another_user_cannot_connect(api, path, place):
        place.chmod(0o755)
        path.parent.chmod(0o755)
        assert await asyncio.to_thread(as_other_user, path) == "PermissionError"

    async def test_another_user_is_refused_even_where_the_mode_lets_it_in(api, path, place):
        place.chmod(0o755)
        path.parent.chmod(0o755)
        path.chmod(0o666)
        assert await asyncio.to_thread(as_other_user, path) in ("b''", "ConnectionResetError", "BrokenPipeError")

    async def test_a_runtime_directory_of_another_user_is_refused(start, place):
        os.chown(place, 65534, 65534)
        with pytest.raises(ConfigError, match="belongs to user id 65534"):
            await start()

    async def test_a_socket_of_another_user_is_refused_and_kept(start, path):
        path.parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
        os.chown(path, 65534, 65534)
        with pytest.raises(ConfigError, match="stands a socket of user id 65534"):
            await start()
        assert path.is_socket()
