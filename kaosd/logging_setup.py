"""The daemon's own log, set up once: structlog to stderr, and the same events as lines of `<state>/logs/daemon.log`.

On a terminal stderr shows colours, under systemd events go to its journal with fields (`journalctl --user
KAOS_NOTEBOOK=name`), elsewhere stderr has JSON lines. Whatever
an event carries, it can neither start a line of its own nor send a terminal escape, and registered secrets are
masked. Events are verbs in the past ("build_finished"), values are keys: log.info("daemon_ready", socket=path).
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Protocol, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from kaosd.aside import is_file, set_aside
from kaosd.display import printable
from kaosd.stage_logs import stamp

MASK = "********"
FILE_BYTES, FILES_KEPT = 8_000_000, 3
_VALUE_MAX = 32_000  # characters; the journal refuses datagrams much beyond
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_SEARCHED = ("event", "notebook", "stage", "deployment", "job")  # KAOS_EVENT and so on in the journal
JOURNAL = "/run/systemd/journal/socket"
_UNQUOTED = re.compile(r"[^\s\"'={}\[\]]+")
_LINES = ("exception", "stack")  # the keys that hold several lines, by structlog's own doing
_secrets: set[str] = set()


class LogOptions(Protocol):
    """How to log: a level, and auto, console, json or journal."""

    @property
    def level(self) -> str: ...  # noqa: D102
    @property
    def format(self) -> str: ...  # noqa: D102


def secret(value: str) -> str:
    """Mask *value* in every event from now on; returns it. Short texts are refused: they would mask words."""
    if len(value) < 8:
        raise ValueError("a secret has at least 8 characters")
    _secrets.add(value)
    return value


def configure(
    options: LogOptions, state_dir: Path, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> Callable[[], None]:
    """Log to *stream* (None: stderr) and to <state_dir>/logs/daemon.log; what libraries warn about as well.

    Returns what ends it: the file is closed, and structlog is as it was before.
    """
    output = _Output(stream or sys.stderr)
    directory = state_dir / "logs"
    if os.path.lexists(directory) and not directory.is_dir():
        set_aside(directory, time.time())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.lexists(directory / "daemon.log") and not is_file(directory / "daemon.log"):
        set_aside(directory / "daemon.log", time.time())  # a FIFO would hang us
    file = _File(directory / "daemon.log", maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8", delay=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _clean,
            _copy_to(file),
            *_rendering(options.format, output, environ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(options.level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, output)),
        cache_logger_on_first_use=False,
    )
    libraries = _Libraries(logging.WARNING)
    logging.getLogger().addHandler(libraries)

    def end() -> None:
        logging.getLogger().removeHandler(libraries)
        with contextlib.suppress(OSError):  # a full disk, known by now
            file.close()
        structlog.reset_defaults()

    return end


def _rendering(style: str, output: _Output, environ: Mapping[str, str]) -> list[Processor]:
    """The processors that make text of an event, for where it goes."""
    if style == "auto" and output.is_journal(environ):
        return [_to_journal]
    if style == "auto":
        style = "console" if output.isatty() else "json"
    if style == "journal":
        return [_journal]
    if style == "console":
        clock = structlog.processors.TimeStamper("%H:%M:%S", utc=False)
        return [clock, structlog.dev.ConsoleRenderer(colors=output.isatty() and not environ.get("NO_COLOR"))]
    return [structlog.processors.TimeStamper("iso"), structlog.processors.JSONRenderer()]


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Every value as something harmless: masked, escaped, cut, and of a type that all renderers know."""
    return {key: _several(value) if key in _LINES else _harmless(value) for key, value in event.items()}


def _harmless(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(_harmless(str(key))): _harmless(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_harmless(inner) for inner in value]
    return printable(_masked(os.fsdecode(value) if isinstance(value, bytes) else str(value)))


def _several(value: object) -> str:
    """A traceback: its lines stay lines, set in so that none of them looks like an event."""
    return "\n".join(f"    {printable(line)}" for line in _masked(str(value)).split("\n"))


def _masked(text: str) -> str:
    for known in _secrets:
        text = text.replace(known, MASK)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}..."


def _plain(event: Mapping[str, object]) -> str:
    """An event as text: level, event, key=value; below it the lines of a traceback."""
    words = [f"{event['level']:<7}", str(event["event"])]
    words += [f"{key}={_quoted(value)}" for key, value in event.items() if key not in ("level", "event", *_LINES)]
    return "\n".join([" ".join(words), *(str(event[key]) for key in _LINES if event.get(key))])


def _quoted(value: object) -> str:
    return value if isinstance(value, str) and _UNQUOTED.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _journal(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Text for the journal: each line says its priority."""
    priority = _PRIORITIES[event["level"]]
    return "\n".join(f"<{priority}>{line}" for line in _plain(event).split("\n"))


def _to_journal(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Send an event to the journal itself, with fields to search by; as text when that does not take it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
            journal.setblocking(False)
            journal.sendto(datagram(event), JOURNAL)
    except OSError:
        return _journal(logger, method, event)
    raise structlog.DropEvent


def datagram(event: Mapping[str, object]) -> bytes:
    """An event in the journal's own protocol; names of fields are ours, whatever the event carries."""
    fields = {"MESSAGE": _plain(event), "PRIORITY": _PRIORITIES[str(event["level"])], "SYSLOG_IDENTIFIER": "kaosd"}
    fields |= {f"KAOS_{key.upper()}": event[key] for key in _SEARCHED if event.get(key) is not None}
    return b"".join(_field(name, str(value).encode(errors="backslashreplace")) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    """One field: of a value with line breaks the length is written."""
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def _copy_to(file: _File) -> Processor:
    """Write each event to *file* and pass it on."""

    def copy(_logger: WrappedLogger, _method: str, event: MutableMapping[str, object]) -> EventDict:
        file.handle(logging.makeLogRecord({"msg": stamp(_plain(event))}))
        return event

    return copy


class _Output:
    """stderr, which may be a pipe whose reader has gone: then only the file is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def write(self, text: str) -> None:
        self._attempt(lambda stream: stream.write(text))

    def flush(self) -> None:
        self._attempt(lambda stream: stream.flush())

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def is_journal(self, environ: Mapping[str, str]) -> bool:
        """Whether JOURNAL_STREAM names exactly this stream; it is inherited by streams that it does not mean."""
        try:
            status = os.fstat(cast(TextIO, self._stream).fileno())
        except (OSError, ValueError):
            return False
        return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"

    def _attempt(self, action: Callable[[TextIO], object]) -> None:
        if self._stream is None:
            return
        try:
            action(self._stream)
        except (OSError, ValueError):
            self._stream = None


class _File(logging.handlers.RotatingFileHandler):
    """daemon.log. When it cannot be written (disk full) the log on stderr continues without it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of logging's hook
        """Drop the line: an error in logging must not end what is logged."""


class _Libraries(logging.Handler):
    """What libraries say through logging, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None)
