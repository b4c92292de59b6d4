"""The daemon's log on real streams: files, pipes, a pseudo-terminal, a full disk."""

import io
import json
import logging
import os
import pty
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from kaosd import logging_setup as daemon_log
from kaosd.logging_setup import MASK, configure, secret

TOKEN = "3f9a1c0b77d2e4f6"
Start = Callable[..., None]


@dataclass
class Options:
    """What [log] of the settings holds."""

    level: str = "info"
    format: str = "auto"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start logging to a stream and to tmp_path/logs/daemon.log; it ends with the test."""
    ends = []

    def begin(stream: TextIO, options: Options | None = None, **environ: str) -> None:
        ends.append(configure(options or Options(), tmp_path, stream, environ))

    yield begin
    for end in ends:
        end()


def lines_of(tmp_path: Path) -> list[str]:
    return (tmp_path / "logs" / "daemon.log").read_text().splitlines()


def test_elsewhere_events_are_json_lines(start: Start) -> None:
    stream = io.StringIO()
    start(stream)
    structlog.get_logger().info("daemon_ready", socket=Path("/run/kaosd.sock"), count=3)
    event = json.loads(stream.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "daemon_ready", "level": "info", "socket": "/run/kaosd.sock", "count": 3}


def test_a_terminal_gets_colours_unless_no_color_is_set(start: Start) -> None:
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        reader, writer = pty.openpty()
        with open(writer, "w") as stream:
            start(stream, **environ)
            structlog.get_logger().info("daemon_ready")
            shown = os.read(reader, 4096).decode()
        os.close(reader)
        assert "daemon_ready" in shown
        assert ("\x1b[" in shown) is coloured


def test_the_journal_gets_priorities_only_when_it_is_really_the_stream(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text, where the journal's own socket is not there; with it see tests/systemd."""
    monkeypatch.setattr(daemon_log, "JOURNAL", str(tmp_path / "none"))
    with open(tmp_path / "journal", "w+") as stream:
        status = os.fstat(stream.fileno())
        start(stream, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
        structlog.get_logger().error("build_failed", notebook="demo")
        structlog.get_logger().info("daemon_ready")
        start(stream, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino + 1}")
        structlog.get_logger().info("again")
        stream.seek(0)
        first, second, third = stream.read().splitlines()
    assert first == "<3>error   build_failed notebook=demo"
    assert second == "<6>info    daemon_ready"
    assert json.loads(third)["event"] == "again"


@pytest.mark.parametrize("style", ["console", "json", "journal"])
def test_no_value_can_forge_a_line_or_send_an_escape(start: Start, tmp_path: Path, style: str) -> None:
    stream = io.StringIO()
    start(stream, Options(format=style))
    nasty = "name\n<0>kernel: forged\r\x1b]0;title\x07\u202e"
    structlog.get_logger().warning(nasty, path=nasty, inner={nasty: [nasty.encode()]}, odd=os.fsencode("\udcff"))
    for text in (stream.getvalue(), "\n".join(lines_of(tmp_path))):
        assert len(text.rstrip("\n").split("\n")) == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)


@pytest.mark.parametrize("style", ["console", "json", "journal"])
def test_lines_of_a_traceback_cannot_pass_for_events(start: Start, tmp_path: Path, style: str) -> None:
    stream = io.StringIO()
    start(stream, Options(format=style))
    error = ValueError("first\n<0>forged\x1b[2J")
    structlog.get_logger().error("step_failed", exc_info=error)
    assert "\x1b" not in stream.getvalue()
    forged = [line for line in stream.getvalue().splitlines() + lines_of(tmp_path) if "forged" in line]
    assert forged
    assert all(re.match(r"(<3>|\S+Z )?    <0>forged|\{", line) for line in forged)


@pytest.mark.parametrize("style", ["console", "json", "journal"])
def test_registered_secrets_are_masked_everywhere(
    start: Start, tmp_path: Path, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_log, "_secrets", set())
    assert secret(TOKEN) == TOKEN
    stream = io.StringIO()
    start(stream, Options(format=style))
    error = ValueError(f"refused ?token={TOKEN}")
    tree = {TOKEN: (TOKEN.encode(), {TOKEN})}
    structlog.get_logger().error(f"got {TOKEN}", url=f"/?token={TOKEN}", error=error, tree=tree, exc_info=error)
    written = stream.getvalue() + "\n".join(lines_of(tmp_path))
    assert TOKEN not in written
    assert written.count(MASK) >= 12


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        secret("token")


def test_the_file_holds_stamped_lines(start: Start, tmp_path: Path) -> None:
    start(io.StringIO())
    structlog.get_logger().info("host_started", notebook="demo", reason="it did not answer")
    (line,) = lines_of(tmp_path)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    host_started notebook=demo reason=\"it did not answer\"", line
    )


def test_the_file_is_rotated_when_it_has_grown(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_log, "FILE_BYTES", 2000)
    start(io.StringIO())
    for number in range(200):
        structlog.get_logger().info("line_written", number=number)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert sorted(sizes) == ["daemon.log", "daemon.log.1", "daemon.log.2", "daemon.log.3"]
    assert all(size <= 2000 for size in sizes.values())
    assert "number=199" in lines_of(tmp_path)[-1]


def test_events_below_the_level_are_dropped(start: Start) -> None:
    stream = io.StringIO()
    start(stream, Options(level="warning", format="journal"))
    structlog.get_logger().info("unimportant")
    structlog.get_logger().warning("important")
    assert stream.getvalue() == "<4>warning important\n"


def test_what_libraries_warn_about_is_logged_too(start: Start) -> None:
    stream = io.StringIO()
    start(stream, Options(format="journal"))
    logging.getLogger("aiohttp.server").error("Unhandled %s", "100%\n<0>forged")
    assert stream.getvalue() == "<3>error   Unhandled 100%\\x0a<0>forged logger=aiohttp.server\n"


def test_a_reader_that_left_does_not_end_the_daemon(start: Start, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w")  # noqa: SIM115 - closing it tells of the broken pipe once more
    start(stream)
    structlog.get_logger().info("first")
    structlog.get_logger().info("second")
    with pytest.raises(BrokenPipeError):
        stream.close()
    assert [line.split()[-1] for line in lines_of(tmp_path)] == ["first", "second"]


def test_a_full_disk_does_not_end_the_daemon(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "daemon.log").symlink_to("/dev/full")
    stream = io.StringIO()
    start(stream, Options(format="journal"))
    structlog.get_logger().info("went_on")
    assert stream.getvalue() == "<6>info    went_on\n"


def test_a_very_long_value_is_cut(start: Start) -> None:
    stream = io.StringIO()
    start(stream)
    structlog.get_logger().info("output_read", text="x" * 1_000_000)
    assert len(stream.getvalue()) < 40_000


def test_a_journal_entry_has_fields_to_search_by_and_no_name_comes_from_an_event() -> None:
    event = {"level": "error", "event": "build_failed", "notebook": "n", "UNIT": "sshd", "exception": "a\n  b"}
    found = daemon_log.datagram(event)
    assert b"PRIORITY=3\n" in found
    assert b"KAOS_EVENT=build_failed\nKAOS_NOTEBOOK=n\n" in found
    assert b"\nUNIT=" not in found
    message = b"error   build_failed notebook=n UNIT=sshd\na\n  b"
    assert found.startswith(b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n")
