"""Log files: names, lines, and which of them belong to a deployment, a stage, a job. Real files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kaosd.display import epoch, rfc3339
from kaosd.stage_logs import (
    Excerpt,
    LogLine,
    Note,
    StageLog,
    Tail,
    entries,
    has_failed,
    log_name,
    merged,
    newest,
    note,
    of_deployment,
    of_job,
    of_stage,
    split_line,
    stage_logs,
    stamp,
)

JOB = "ab" * 16
OTHER = "cd" * 16
AT = 1_794_997_600.0


def write(root: Path, number: int, stage: str, *lines: tuple[float, str], job: str = "-") -> None:
    with (root / log_name(number, stage, job)).open("a") as file:
        file.writelines(stamp(text, AT + at) + "\n" for at, text in lines)


def texts(excerpts: list[Excerpt]) -> list[str]:
    return [entry.text for entry in merged(excerpts)]


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """1: build and host. 2: a sync, while the host of 1 goes on. 3: the build fails. 4: a new host."""
    write(tmp_path, 1, "watch", (0, "deployment 1: [first start] -> start"), (9, "deployment 1: live"))
    write(tmp_path, 1, "build", (1, "resolved"), (2, "installed"), job=JOB)
    write(tmp_path, 1, "host", (5, "host 1 up"), (25, "kernel during 2"), (35, "kernel during 3"), job=OTHER)
    write(tmp_path, 2, "watch", (20, "deployment 2: model/a.py -> sync"), (21, "deployment 2: live"))
    write(tmp_path, 3, "watch", (30, "deployment 3: model/requirements.txt -> build"))
    write(tmp_path, 3, "build", (31, "error: no such package"), job="ee" * 16)
    write(tmp_path, 3, "watch", (32, "deployment 3: failed: no such package"))
    write(tmp_path, 4, "watch", (40, "deployment 4: model/requirements.txt -> build"))
    write(tmp_path, 4, "host", (41, "host 4 up"), job="ff" * 16)
    (tmp_path / "notes.txt").write_text("not a log")
    return tmp_path


def test_the_files_of_a_directory_are_told_by_their_names(story: Path) -> None:
    found = stage_logs(str(story), "n")
    assert [(log.number, log.stage, log.job[:2]) for log in found][:4] == [
        (1, "watch", ""),
        (1, "build", "ab"),
        (1, "host", "cd"),
        (2, "watch", ""),
    ]
    assert stage_logs(str(story / "absent"), "n") == []


def test_numbers_beyond_six_digits_still_sort(tmp_path: Path) -> None:
    write(tmp_path, 999_999, "watch", (0, "a"))
    write(tmp_path, 1_000_000, "watch", (0, "b"))
    assert [log.number for log in stage_logs(str(tmp_path), "n")] == [999_999, 1_000_000]


@pytest.mark.parametrize(
    ("number", "stage", "failed", "expected"),
    [
        (1, "build", False, ["resolved", "installed"]),
        (1, "host", False, ["host 1 up"]),
        (2, None, False, ["deployment 2: model/a.py -> sync", "deployment 2: live", "kernel during 2"]),
        (2, "host", False, ["kernel during 2"]),
        (3, "host", True, ["kernel during 3"]),
        (4, "host", False, ["host 4 up"]),
        (5, None, False, []),
    ],
)
def test_a_deployment_has_its_files_and_its_part_of_the_host(
    story: Path, number: int, stage: str | None, failed: bool, expected: list[str]
) -> None:
    assert texts(of_deployment(stage_logs(str(story), "n"), number, stage, failed=failed)) == expected


def test_a_failure_is_not_buried_by_the_host_that_goes_on(story: Path) -> None:
    found = stage_logs(str(story), "n")
    assert has_failed(found, 3)
    assert texts(of_deployment(found, 3, failed=True))[-1] == "deployment 3: failed: no such package"


def test_a_stage_alone_is_what_it_last_did(story: Path) -> None:
    found = stage_logs(str(story), "n")
    assert texts(of_stage(found, "build")) == ["error: no such package"]
    assert texts(of_stage(found, "host")) == ["host 4 up"]
    assert texts(of_job(found, "cd")) == ["host 1 up", "kernel during 2", "kernel during 3"]
    assert of_job(found, "00") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deployment 3: failed", Note(3, "failed", "failed")),
        ("deployment 3: failed: a -> b", Note(3, "failed: a -> b", "failed")),
        ("deployment 3: live", Note(3, "live", "live")),
        ("deployment 12: superseded", Note(12, "superseded", "superseded")),
        ("deployment 3: failed_notes.py -> sync", Note(3, "failed_notes.py -> sync", "")),
        ("deployment 3: live -> sync", Note(3, "live -> sync", "")),
        ("settled after 0.6 s", None),
        ("the deployment 3: failed", None),
    ],
)
def test_the_watch_stage_tells_how_a_deployment_began_and_ended(text: str, told: Note | None) -> None:
    assert note(LogLine(AT, StageLog("", "n", 3, "watch", ""), text)) == told
    assert note(LogLine(AT, StageLog("", "n", 3, "build", ""), text)) is None


def test_of_one_moment_the_end_of_the_deployment_is_the_last_line(tmp_path: Path) -> None:
    write(tmp_path, 1, "watch", (0, "deployment 1: a -> build"), (0, "deployment 1: failed"))
    write(tmp_path, 1, "build", (0, "error"), job=JOB)
    found = stage_logs(str(tmp_path), "n")
    assert texts(of_deployment(found, 1)) == ["deployment 1: a -> build", "error", "deployment 1: failed"]


def test_a_line_is_stamped_and_made_safe() -> None:
    assert stamp("\x1b[1mbold\n", AT) == "2026-11-18T10:26:40.000Z \\x1b[1mbold"
    assert stamp("two\r\nlines", AT) == "2026-11-18T10:26:40.000Z two\n2026-11-18T10:26:40.000Z lines"
    assert stamp("", AT) == "2026-11-18T10:26:40.000Z "


def test_lines_tell_their_time_in_our_way_and_in_jupyters() -> None:
    assert split_line("2026-11-18T10:26:40.500Z hello world") == (AT + 0.5, "hello world")
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(AT))
    assert split_line(f"[W {local}.500 ServerApp] slow") == (AT + 0.5, "[W ServerApp] slow")
    assert split_line("  File x, line 3") == (None, "  File x, line 3")


def test_a_line_without_a_time_belongs_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / log_name(1, "host", JOB)
    path.write_bytes(
        b"early\n" + stamp("Traceback", AT).encode() + b"\n  File \xff\n\n" + stamp("next", AT + 1).encode()
    )
    log = stage_logs(str(tmp_path), "n")[0]
    assert list(entries(Excerpt(log))) == [
        LogLine(0.0, log, "early"),
        LogLine(AT, log, "Traceback"),
        LogLine(AT, log, "  File \\xff"),
        LogLine(AT, log, ""),
        LogLine(AT + 1, log, "next"),
    ]
    assert [entry.text for entry in entries(Excerpt(log, AT + 1))] == ["next"]


def test_a_file_that_was_removed_meanwhile_has_no_lines() -> None:
    log = StageLog("/nonexistent", "n", 1, "host", "")
    assert list(entries(Excerpt(log))) == []
    assert Tail(log, from_end=True).read() == []


def test_a_tail_hands_out_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(stamp("before", AT) + "\n")
    tail = Tail(StageLog(str(path), "n", 1, "host", ""), from_end=True)
    assert tail.read() == []
    with path.open("a") as file:
        file.write(rfc3339(AT) + " half")
        file.flush()
        assert tail.read() == []
        file.write(" whole\nnext")
    assert [entry.text for entry in tail.read()] == ["half whole"]
    with path.open("a") as file:
        file.write("\n")
    assert [entry.text for entry in tail.read()] == ["next"]
    assert tail.read() == []


def test_a_tail_survives_truncation_replacement_and_absence(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    tail = Tail(StageLog(str(path), "", 0, "daemon", ""))
    assert tail.read() == []
    path.write_text("one\ntwo\n")
    assert [entry.text for entry in tail.read()] == ["one", "two"]
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write("3\n")
    assert [entry.text for entry in tail.read()] == ["3"]
    path.rename(tmp_path / "daemon.log.1")
    path.write_text("a longer first line in the new file\n")
    assert [entry.text for entry in tail.read()] == ["a longer first line in the new file"]


def test_the_stamp_of_now_is_now() -> None:
    told = epoch(stamp("x").split(" ")[0])
    assert told is not None
    assert abs(told - time.time()) < 60


@pytest.mark.parametrize("count", [0, 1, 7, 1000, 5000])
def test_the_newest_lines_are_those_at_the_end_however_large_the_files_are(tmp_path: Path, count: int) -> None:
    write(tmp_path, 1, "watch", *((number, f"watch {number}") for number in range(0, 4000, 100)))
    write(tmp_path, 1, "host", *((number, "x" * 100 + f" {number}") for number in range(4000)), job=JOB)
    excerpts = of_deployment(stage_logs(str(tmp_path), "n"), 1)
    assert newest(excerpts, count) == (list(merged(excerpts))[-count:] if count else [])


def test_the_newest_lines_of_a_time_are_found_before_much_that_is_newer(tmp_path: Path) -> None:
    write(tmp_path, 1, "host", *((number, "x" * 100 + f" {number}") for number in range(4000)), job=JOB)
    log = stage_logs(str(tmp_path), "n")[0]
    found = newest([Excerpt(log, AT + 5, AT + 9)], 3)
    assert [entry.time for entry in found] == [AT + 6, AT + 7, AT + 8]


def test_a_line_without_end_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / log_name(1, "host", JOB)
    path.write_bytes(stamp("x", AT).encode() + b"y" * 300_000)
    log = stage_logs(str(tmp_path), "n")[0]
    pieces = list(entries(Excerpt(log)))
    assert max(len(entry.text) for entry in pieces) <= 64 * 1024
    assert "".join(entry.text for entry in pieces) == "x" + "y" * 300_000
    assert len(Tail(log).read()) == 1


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / log_name(1, "host", JOB)
    with open(path, "wb") as file:
        file.truncate(50 * 2**30)  # a hole
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(stamp(f"line {number}", AT + number).encode() + b"\n" for number in range(9)))
    log = stage_logs(str(tmp_path), "n")[0]
    assert [entry.text for entry in newest([Excerpt(log)], 3)] == ["line 6", "line 7", "line 8"]
    assert [entry.text for entry in newest([Excerpt(log)], 30)][-9:] == [f"line {number}" for number in range(9)]
