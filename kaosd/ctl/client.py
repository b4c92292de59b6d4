"""Talks to the daemon: HTTP/1.1 with JSON over a Unix socket, one connection per request.

Written by hand because http.client, with what it loads, would double the time of `kaosctl status`: 50 ms of the
processor instead of 25.
"""

from __future__ import annotations

import _socket
import json
import os
import sys

from kaosd import __version__
from kaosd.ctl import failure, places
from kaosd.ctl.failure import Failure
from kaosd.display import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

QUICK = 10.0  # seconds that the daemon may be silent; requests that end hosts get SLOW
SLOW = 60.0
START = "start it with `kaosctl start`"


class Client:
    """Requests to one daemon. path: of its socket; default: where the daemon listens by default."""

    def __init__(self, path: str | None = None) -> None:
        self.path = places.socket_path() if path is None else path
        self._warned = False

    def get(self, path: str, *, timeout: float = QUICK) -> dict[str, Any]:
        """The JSON at *path* (with its query). Raises Failure."""
        return self._request("GET", path, None, timeout)

    def post(self, path: str, body: object = None, *, timeout: float | None = SLOW) -> dict[str, Any]:
        """The JSON that answers *body*; timeout None: wait for as long as it takes. Raises Failure."""
        return self._request("POST", path, {} if body is None else body, timeout)

    def delete(self, path: str, *, timeout: float = SLOW) -> dict[str, Any]:
        """The JSON that answers. Raises Failure."""
        return self._request("DELETE", path, None, timeout)

    def lines(self, path: str, body: object) -> Iterator[dict[str, Any]]:
        """The objects of an answer that comes line by line, as they come. Closing it ends the request. Failure."""
        connection = self._connect(None)
        try:
            connection.sendall(_message("POST", path, body))
            answer = b""
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
            if b"chunked" not in answer.partition(b"\r\n\r\n")[0].lower():
                while part := connection.recv(65536):
                    answer += part
                yield self._answered(answer)
                return
            rest = b""
            for part in _chunks(connection, answer.partition(b"\r\n\r\n")[2]):
                *whole, rest = (rest + part).split(b"\n")
                yield from map(_json, whole)
        except OSError as error:
            raise _gone(error.strerror) from None
        except ValueError as error:
            raise _gone(str(error)) from None
        finally:
            connection.close()

    def _request(self, method: str, path: str, body: object, timeout: float | None) -> dict[str, Any]:
        connection = self._connect(timeout)
        try:
            answer = _exchange(connection, _message(method, path, body))
        except TimeoutError:
            text = f"kaosd does not answer (waited {timeout:g} s at {self.path})"
            raise Failure(text, hint="see `kaosctl logs --stage daemon`", exit_code=failure.TIMED_OUT) from None
        except OSError as error:
            raise _gone(error.strerror) from None
        finally:
            connection.close()
        return self._answered(answer)

    def _answered(self, answer: bytes) -> dict[str, Any]:
        """The JSON of a whole response. Failure."""
        try:
            status, headers, content = parse(answer)
        except ValueError as error:
            raise _gone(str(error)) from None
        self._compare(headers.get("kaosd-version", __version__))
        value = _json(content)
        if status >= 400:
            raise _problem(status, value)
        return value

    def _connect(self, timeout: float | None) -> _socket.socket:
        """A connection to a daemon that runs as us or as root."""
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(timeout)
            connection.connect(self.path)
            credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)  # pid, uid, gid
            check_owner(int.from_bytes(credentials[4:8], sys.byteorder), os.getuid(), self.path)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise _unreachable(error, self.path) from None
            raise
        return connection

    def _compare(self, version: str) -> None:
        if version != __version__ and not self._warned:
            self._warned = True
            told = printable(version)
            print(f"kaosctl: this is {__version__}, the daemon is {told}; restart the older one", file=sys.stderr)


def notebook_path(name: str, what: str = "") -> str:
    """The path of a notebook, or of *what* of it, in the API."""
    from urllib.parse import quote

    return f"/v1/notebooks/{quote(name, safe='')}" + (f"/{what}" if what else "")


def check_owner(owner: int, mine: int, path: str) -> None:
    """Failure when the process behind the socket (user id *owner*) is neither ours nor root's."""
    if owner not in (mine, 0):
        raise Failure(
            f"the socket {path} is served by user id {owner}, not by you ({mine})",
            hint="nothing was sent; set KAOSD_SOCKET to your own daemon's socket",
            code="foreign_socket",
        )


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower-case names) and body of a response that was read to its end; ValueError if cut off."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not separator or not words[0].startswith("HTTP/1.") or not words[1:] or not words[1].isdigit():
        raise ValueError("it closed the connection without an answer")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = _unchunked(body)
    elif len(body) < int(headers.get("content-length", 0)):
        raise ValueError("its answer is not whole")
    return int(words[1]), headers, body


def _unchunked(body: bytes) -> bytes:
    chunks: list[bytes] = []
    while True:
        size_text, found, body = body.partition(b"\r\n")
        size = int(size_text.split(b";")[0], 16) if found else -1
        if size < 0 or len(body) < size:
            raise ValueError("its answer is not whole")
        if size == 0:
            return b"".join(chunks)
        chunks.append(body[:size])
        body = body[size + 2 :]


def _chunks(connection: _socket.socket, first: bytes) -> Iterator[bytes]:
    """The content of a chunked body as it comes. first: what was read of it already. ValueError when it breaks off."""
    while True:
        while b"\r\n" not in first:
            first += _more(connection)
        size_text, _, first = first.partition(b"\r\n")
        size = int(size_text.split(b";")[0], 16)
        if size == 0:
            return
        while len(first) < size + 2:
            first += _more(connection)
        yield first[:size]
        first = first[size + 2 :]


def _more(connection: _socket.socket) -> bytes:
    part = connection.recv(65536)
    if not part:
        raise ValueError("its answer is not whole")
    return part


def _message(method: str, path: str, body: object) -> bytes:
    """A request as it is sent."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: kaosd\r\nConnection: close\r\nAccept: application/json\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def _exchange(connection: _socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    chunks: list[bytes] = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        text = f"kaosd gave an answer that is not a JSON object: {content[:80].decode('utf-8', 'replace')}"
        raise Failure(text, hint="is KAOSD_SOCKET the socket of a kaosd?")
    return value


def _problem(status: int, problem: dict[str, Any]) -> Failure:
    """The failure for an RFC 9457 problem document."""
    text = problem.get("detail") or problem.get("title") or f"kaosd answered with status {status}"
    exit_code = {404: failure.NOT_FOUND, 408: failure.TIMED_OUT, 504: failure.TIMED_OUT}.get(status, failure.FAILED)
    code = str(problem.get("code") or status)
    return Failure(str(text), hint=str(problem.get("hint") or ""), exit_code=exit_code, code=code)


def _unreachable(error: OSError, path: str) -> Failure:
    if isinstance(error, (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)):
        return _down(f"kaosd is not running (nothing listens at {path})", START)
    if isinstance(error, PermissionError):
        return _down(f"the socket {path} may not be used by you", "is it another user's daemon?")
    if isinstance(error, TimeoutError):
        return Failure(f"kaosd does not take connections at {path}", exit_code=failure.TIMED_OUT, code="timeout")
    return _down(f"kaosd cannot be reached at {path}: {error.strerror or error}", "KAOSD_SOCKET names another socket")


def _gone(why: str | None) -> Failure:
    hint = "it may have been stopped or restarted; see `kaosctl status`"
    return _down(f"kaosd went away during the request: {why}", hint)


def _down(text: str, hint: str) -> Failure:
    return Failure(text, hint=hint, exit_code=failure.NOT_RUNNING, code="not_running")
