"""A cable between the daemon and an engine elsewhere, which can be pulled at any step and put back.

What the daemon says to the engine passes in pieces, about one for each request; the cable is pulled at one of them,
before the engine has it or after the engine has it and before any answer comes. Until it is put back nobody listens.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

PIECE = 65536


class Cable:
    """From *near* (what the daemon is told; made here) to *far*: each a Unix socket's path or (host, port)."""

    def __init__(self, near: Path | None, far: Path | tuple[str, int]) -> None:
        self._near, self._far = near, far
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._left: int | None = None  # pieces until it is pulled
        self._late = False
        self.pulled = threading.Event()
        self.port = 0
        self._listen()

    @property
    def address(self) -> str:
        """Where the daemon finds the engine: a path, or host:port."""
        return str(self._near) if self._near is not None else f"127.0.0.1:{self.port}"

    def pull_at(self, piece: int, *, late: bool) -> None:
        """Be pulled at the *piece*-th piece from now. late: the engine gets it, and the answer is lost."""
        with self._lock:
            self._left, self._late = piece, late

    def pull(self) -> None:
        """Be pulled now."""
        with self._lock:
            self._left = None
            self._cut()

    def put_back(self) -> None:
        """Work again."""
        with self._lock:
            self._left = None
            was_pulled = self.pulled.is_set()
        if was_pulled:
            self._listen()

    def close(self) -> None:
        """For good."""
        with self._lock:
            self._cut()
        for thread in self._threads:
            thread.join(10)

    def _listen(self) -> None:
        if self._near is not None:
            self._near.unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self._near))
        else:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
        self._listener.listen()
        self.pulled.clear()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _cut(self) -> None:
        """With the lock held: nobody listens, and all connections end."""
        self.pulled.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX if isinstance(self._far, Path) else socket.AF_INET)
            try:
                far.connect(str(self._far) if isinstance(self._far, Path) else self._far)
            except OSError:
                near.close()
                far.close()
                continue
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.Thread(target=self._join, args=(near, far), daemon=True))
            self._threads[-1].start()

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        """One connection, until both ends are done."""
        with near, far:
            with self._lock:
                if self.pulled.is_set():
                    return
                self._open |= {near, far}
            answers = threading.Thread(target=self._pass, args=(far, near, False), daemon=True)
            answers.start()
            self._pass(near, far, True)
            answers.join()
            with self._lock:
                self._open -= {near, far}

    def _pass(self, one: socket.socket, other: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(PIECE):
                if counts and self._is_last(other, piece):
                    break
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
            return
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_last(self, far: socket.socket, piece: bytes) -> bool:
        with self._lock:
            if self._left is None or self.pulled.is_set():
                return False
            self._left -= 1
            if self._left > 0:
                return False
            self._left = None
            if self._late:
                far.sendall(piece)
            self._cut()
            return True
