"""Attacks on the control socket and on the front."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from tests.faults.prey import CONNECTIONS, NAME, Case, Prey, as_nobody

# -- socket --------------------------------------------------------------------------------------------------------

TRY = "import socket, sys\ntry: print({})\nexcept OSError as error: print(type(error).__name__)"
CONNECT = TRY.format("socket.socket(socket.AF_UNIX).connect(sys.argv[1])")
READ = TRY.format("open(sys.argv[1]).read()")


def crowd(connect: Callable[[], socket.socket], ask: Callable[[], str]) -> str:
    """Many connections that say nothing, and what a decent one gets meanwhile."""
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            with contextlib.suppress(OSError):
                stack.enter_context(connect()).settimeout(1)
        return ask()


def pipeline(prey: Prey) -> str:
    """A hundred requests at once."""
    with prey.connect() as connection:
        connection.settimeout(60)
        connection.sendall(b"GET /v1/version HTTP/1.1\r\nHost: kaosd\r\n\r\n" * 100)
        answer = b""
        while answer.count(b"HTTP/1.1 200") < 100:
            answer += connection.recv(65536)
    return f"{answer.count(b'HTTP/1.1 200')} answers"


def deploy(**fields: object) -> Callable[[Prey], str]:
    """Ask for a notebook; nothing may come of it."""

    def attack(prey: Prey) -> str:
        real = {key: value(prey) if callable(value) else value for key, value in fields.items()}
        status = prey.ask("/v1/notebooks", {"name": "evil", "workspace": "w", **real}, method="POST")
        names = [one["name"] for one in prey.daemon.status()["notebooks"]]
        return status if names == [NAME] else f"{status}, and there is {names}"

    return attack


HEAD = b"GET /v1/status HTTP/1.1\r\nHost: kaosd\r\n"
POST = b"POST /v1/notebooks/prey/pause HTTP/1.1\r\nHost: kaosd\r\n"
JSON = b"Content-Type: application/json\r\n"
REFUSED = ("400", "403", "404", "405", "408", "411", "413", "414", "415", "421", "422", "431", "501", "505", "closed")
BAD = ("400", "422")
SOCKET = [
    Case(
        "socket",
        "another user connects",
        ("PermissionError",),
        lambda p: as_nobody(CONNECT, p.daemon.environ["KAOSD_SOCKET"]),
    ),
    Case(
        "socket",
        "a page with its Origin",
        ("403",),
        lambda p: p.ask("/v1/status", None, "Host: kaosd", "Origin: http://evil"),
    ),
    Case(
        "socket",
        "a page by its fetch metadata",
        ("403",),
        lambda p: p.ask("/v1/status", None, "Host: kaosd", "Sec-Fetch-Site: cross-site"),
    ),
    Case("socket", "a rebound name as Host", ("403", "421"), lambda p: p.ask("/v1/status", None, "Host: evil.example")),
    Case("socket", "a head of a megabyte", REFUSED, lambda p: p.control(HEAD + b"X: " + b"y" * 10**6 + b"\r\n\r\n")),
    Case(
        "socket",
        "a body of a gigabyte",
        ("413",),
        lambda p: p.control(POST + JSON + b"Content-Length: 1000000000\r\n\r\n"),
    ),
    Case("socket", "a negative length", REFUSED, lambda p: p.control(POST + b"Content-Length: -1\r\n\r\n")),
    Case(
        "socket",
        "two lengths",
        REFUSED,
        lambda p: p.control(POST + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}"),
    ),
    Case(
        "socket",
        "length and chunks",
        REFUSED,
        lambda p: p.control(POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    Case(
        "socket",
        "a chunk that is none",
        REFUSED,
        lambda p: p.control(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    ),
    Case(
        "socket",
        "a request without a version, which does no harm",
        ("200", "400"),
        lambda p: p.control(b"GET /v1/status\r\n\r\n"),
    ),
    Case(
        "socket",
        "a TLS hello",
        REFUSED,
        lambda p: p.control(bytes.fromhex("160301020001fc0303") + bytes(512) + b"\r\n\r\n"),
    ),
    Case("socket", "zero bytes", REFUSED, lambda p: p.control(bytes(70000))),
    Case(
        "socket",
        "an upgrade to a websocket, which is not heard",
        ("200",),
        lambda p: p.control(HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ),
    Case("socket", "a hundred requests at once", ("100 answers",), pipeline),
    Case(
        "socket",
        "a thousand silent connections",
        ("200",),
        lambda p: crowd(p.connect, lambda: p.ask("/v1/version")),
    ),
    Case("socket", "after them all is as before", ("200",), lambda p: p.ask("/v1/version")),
    Case("socket", "a name that climbs", REFUSED, lambda p: p.ask("/v1/notebooks/../../etc")),
    Case("socket", "a name that climbs, encoded", REFUSED, lambda p: p.ask("/v1/notebooks/%2e%2e%2f%2e%2e%2fetc")),
    Case("socket", "logs of a name that climbs", REFUSED, lambda p: p.ask("/v1/notebooks/..%2f..%2ftoken/logs")),
    Case("socket", "a name of 60 000 letters", REFUSED, lambda p: p.ask("/v1/notebooks/" + "x" * 60_000)),
    Case(
        "socket",
        "JSON of a hundred thousand brackets",
        BAD,
        lambda p: p.ask("/v1/notebooks", b"[" * 10**5, method="POST"),
    ),
    Case(
        "socket",
        "the same field twice",
        BAD,
        lambda p: p.ask("/v1/notebooks", b'{"name":"a","name":"b"}', method="POST"),
    ),
    Case(
        "socket",
        "a number that is none",
        BAD,
        lambda p: p.ask("/v1/notebooks/prey/wait", b'{"timeout": NaN}', method="POST"),
    ),
    Case(
        "socket",
        "a form instead of JSON",
        ("415", "400"),
        lambda p: p.control(POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"),
    ),
    Case("socket", "a method that there is not", ("405",), lambda p: p.ask("/v1/status", method="TRACE")),
    Case(
        "socket",
        "a rollback to a path",
        ("404", "400"),
        lambda p: p.ask("/v1/notebooks/prey/rollback", {"to": "../../../etc/passwd"}, method="POST"),
    ),
    Case("socket", "a path with a zero byte", BAD, lambda p: p.ask("/v1/why?path=/etc%00/x")),
    Case("socket", "the state directory as a source", BAD, deploy(source=lambda p: str(p.daemon.state))),
    Case("socket", "a source that contains the state directory", BAD, deploy(source=lambda p: str(p.daemon.place))),
    Case("socket", "/proc as a source", BAD, deploy(source="/proc/self")),
    Case("socket", "/sys as data", BAD, deploy(data="/sys/kernel")),
    Case("socket", "a relative source", BAD, deploy(source="../../etc")),
    Case("socket", "a source with a zero byte", BAD, deploy(source="/tmp/\0x")),
    Case("socket", "a name with an escape sequence", BAD, deploy(name="\x1b[2Jx")),
    Case("socket", "all the memory there is not", BAD, deploy(memory="1" * 18 + "Pi")),
]

# -- front ---------------------------------------------------------------------------------------------------------

DENIED = ("401", "403", "302", "404")
WEBSOCKET = ("Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
API = f"/{NAME}/api/contents"


def smuggle(prey: Prey) -> str:
    """A second request hidden in the body of the first."""
    hidden = f"GET {API} HTTP/1.1\r\nHost: 127.0.0.1:{prey.daemon.port}\r\n\r\n"
    head = f"POST {API} HTTP/1.1\r\nHost: 127.0.0.1:{prey.daemon.port}\r\nAuthorization: token {prey.token}\r\n"
    length = f"Content-Length: {len(hidden) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    return prey.front((head + length + hidden).encode())


def framed(prey: Prey) -> str:
    """Whether another page can put the index into a frame."""
    with socket.create_connection(("127.0.0.1", prey.daemon.port)) as connection:
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{prey.daemon.port}\r\nAuthorization: token {prey.master}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return "no frames" if b"frame-ancestors" in head or b"x-frame-options" in head else head.decode()


FRONT = [
    Case("front", "no token", DENIED, lambda p: p.visit(API, token="")),
    Case("front", "a wrong token", DENIED, lambda p: p.visit(API, token="0" * 48)),
    Case("front", "a token with a zero byte", REFUSED, lambda p: p.visit(API, token=p.token + "\0")),
    Case(
        "front",
        "no token, a websocket",
        DENIED,
        lambda p: p.visit(f"/{NAME}/api/kernels/x/channels", "Connection: Upgrade", *WEBSOCKET, token=""),
    ),
    Case(
        "front",
        "another page's websocket with the right token",
        ("403",),
        lambda p: p.visit(
            f"/{NAME}/api/kernels/x/channels", "Connection: Upgrade", "Origin: http://evil.example", *WEBSOCKET
        ),
    ),
    Case("front", "another page with the right token", ("403",), lambda p: p.visit(API, "Origin: http://evil.example")),
    Case("front", "a page of another local port", ("403",), lambda p: p.visit(API, "Origin: http://127.0.0.1:1")),
    Case("front", "a rebound name with the right token", ("403", "421"), lambda p: p.visit(API, host="evil.example")),
    Case(
        "front",
        "another page's form",
        ("403",),
        lambda p: p.visit(API, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", method="POST"),
    ),
    Case("front", "the notebook's token at the index", DENIED, lambda p: p.visit("/", token=p.token)),
    Case("front", "the index without a token", DENIED, lambda p: p.visit("/", token="")),
    Case(
        "front",
        "a path that climbs out of the notebook's files",
        ("400", "403", "404"),
        lambda p: p.visit(f"/{NAME}/files/..%2f..%2f..%2ftoken"),
    ),
    Case(
        "front",
        "a path that climbs out, plainly",
        ("400", "401", "403", "404"),
        lambda p: p.visit(f"/{NAME}/../../token"),
    ),
    Case("front", "the contents API climbs", ("400", "403", "404"), lambda p: p.visit(f"{API}/%2e%2e/%2e%2e/token")),
    Case("front", "a line break in the path", REFUSED, lambda p: p.visit(f"/{NAME}/lab%0d%0aSet-Cookie:x=1")),
    Case("front", "a request hidden in another one", REFUSED, smuggle),
    Case("front", "a head of a megabyte", REFUSED, lambda p: p.visit(API, "X: " + "y" * 10**6)),
    Case(
        "front",
        "a thousand silent connections",
        ("200",),
        lambda p: crowd(lambda: socket.create_connection(("127.0.0.1", p.daemon.port)), lambda: p.visit(API)),
    ),
    Case("front", "the index in a frame", ("no frames",), framed),
    Case("front", "as a proxy to somewhere else", REFUSED, lambda p: p.visit("http://127.0.0.1:1/")),
    Case("front", "CONNECT", REFUSED, lambda p: p.visit("127.0.0.1:1", method="CONNECT")),
]
