"""Files that are being written: who has them open is asked of the kernel, and they are never taken by halves."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import in_store, write, write_all

from kaosd.bundle import Scanner, Store, writers
from kaosd.bundle.store import LARGE_FROM
from kaosd.bundle.writers import QUIET, STALLED, Seen, Writers, has_writer, is_temporary, left

NEVER = 3600.0  # seconds; so much quiet no test waits for


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        (Seen(writer=False, closed=False, quiet=0.0), 0.0),
        (Seen(writer=False, closed=True, quiet=0.0), 0.0),
        (Seen(writer=True, closed=False, quiet=0.0), QUIET),
        (Seen(writer=True, closed=True, quiet=0.5), QUIET - 0.5),  # one of two writers has closed it
        (Seen(writer=True, closed=False, quiet=QUIET), 0.0),
        (Seen(writer=True, closed=False, quiet=1e6), 0.0),
        (Seen(writer=None, closed=True, quiet=0.0), 0.0),
        (Seen(writer=None, closed=False, quiet=1.5), QUIET - 1.5),
        (Seen(writer=None, closed=False, quiet=2.5), 0.0),
        (Seen(writer=True, closed=False, quiet=3.0, temporary=True), STALLED - 3.0),
        (Seen(writer=True, closed=False, quiet=STALLED, temporary=True), 0.0),
        (Seen(writer=None, closed=False, quiet=3.0, temporary=True), STALLED - 3.0),
        (Seen(writer=None, closed=True, quiet=0.5, temporary=True), QUIET - 0.5),
        (Seen(writer=False, closed=True, quiet=0.5, temporary=True), QUIET - 0.5),
        (Seen(writer=False, closed=True, quiet=2.0, temporary=True), 0.0),
    ],
)
def test_a_file_waits_for_its_close_or_for_two_seconds_of_quiet(seen, seconds):
    assert left(seen) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        (b".big.bin.A1b2C3", True),
        (b".a.Zz09aB", True),
        (b"train.py___jb_tmp___", True),
        (b"train.py___jb_old___", True),
        (b"big.bin.A1b2C3", False),
        (b".big.bin.A1b2C", False),
        (b".bashrc", False),
        (b"report~", False),
        (b"x.tmp", False),
    ],
)
def test_temporaries_of_rsync_and_jetbrains_are_told_by_name(name, temporary):
    assert is_temporary(name) is temporary


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A file, and a descriptor of it to ask about."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 5000)
    descriptor = os.open(path, os.O_RDONLY)
    yield path, descriptor
    os.close(descriptor)


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b"])
def test_the_kernel_tells_who_writes(file, mode):
    path, descriptor = file
    assert has_writer(descriptor) is False
    with path.open("rb"):
        assert has_writer(descriptor) is False
    with path.open(mode):
        assert has_writer(descriptor) is True
    assert has_writer(descriptor) is False


def test_a_map_counts_as_a_writer_until_it_is_gone(file):
    path, descriptor = file
    with path.open("r+b") as opened:
        mapped = mmap.mmap(opened.fileno(), 0)
    assert has_writer(descriptor) is True
    mapped.close()
    assert has_writer(descriptor) is False


def test_a_write_through_another_name_counts(file, tmp_path):
    path, descriptor = file
    os.link(path, tmp_path / "other")
    with (tmp_path / "other").open("ab"):
        assert has_writer(descriptor) is True


def test_asking_neither_ends_us_nor_keeps_a_writer_out(file):
    """The signal about a lease that is broken would end a process by default; a writer must get in each time."""
    path, _ = file
    script = """
import os, sys, threading
from kaosd.bundle.writers import has_writer
descriptor, done = os.open(sys.argv[1], os.O_RDONLY), threading.Event()
def ask():
    while not done.is_set():
        has_writer(descriptor)
asking = [threading.Thread(target=ask) for _ in range(2)]
for thread in asking:
    thread.start()
for _ in range(3000):
    os.close(os.open(sys.argv[1], os.O_WRONLY))
done.set()
for thread in asking:
    thread.join()
print("alive", has_writer(descriptor))
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("alive False\n", "", 0)


@pytest.mark.not_quick
def test_nothing_is_told_of_files_of_others(file):
    path, _ = file
    path.chmod(0o644)
    for above in (path.parent, *path.parent.parents[:-1]):
        above.chmod(above.stat().st_mode | 0o055)
    script = """
import os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
from kaosd.bundle.writers import has_writer
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
print(has_writer(descriptor))
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("None\n", "")


# -- what a scanner makes of it ----------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=["data", "source"])
def scanner(request: pytest.FixtureRequest, root: Path, store: Store) -> Scanner:
    """A scanner that has seen two files; nothing counts as quiet."""
    write_all(root, {b"model/requirements.txt": b"", b"model/a": b"1", b"model/log": b"line 0\n"})
    made = Scanner(root, store, kind=request.param)
    assert made.scan().saving == ()
    return made


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is ever quiet for long enough."""
    monkeypatch.setattr(writers, "QUIET", NEVER)


LOOKS = pytest.mark.parametrize("look", ["dirty", "full"])


def scan(scanner: Scanner, look: str, *paths: bytes):
    return scanner.scan(paths if look == "dirty" else None)


@LOOKS
@pytest.mark.usefixtures("restless")
def test_a_new_file_waits_for_its_close_and_no_other_waits_for_it(scanner, store, root, look):
    with (root / "model/new.csv").open("wb") as file:
        file.write(b"half")
        file.flush()
        write(root, b"model/a", b"2")
        found = scan(scanner, look, b"model/a", b"model/new.csv")
        assert found.saving == (b"model/new.csv",)
        assert found.again == pytest.approx(NEVER, abs=60)
        held = in_store(store, found.tree)
        assert held[b"model/a"] == ("f", b"2")
        assert b"model/new.csv" not in held
        file.write(b" and half")
    found = scanner.scan([])
    assert (found.saving, found.again) == ((), None)
    assert in_store(store, found.tree)[b"model/new.csv"] == ("f", b"half and half")


@LOOKS
@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("size", [0, 3, 7, 30, LARGE_FROM + 5])
def test_a_file_that_is_written_again_stays_what_it_was_however_long_it_gets(scanner, store, root, look, size):
    with (root / "model/log").open("wb") as file:
        file.write(b"x" * size)
        file.flush()
        found = scan(scanner, look, b"model/log")
        assert found.saving == (b"model/log",)
        file.write(b"y" * 20)
        file.flush()
        assert scan(scanner, look, b"model/log").saving == (b"model/log",)
        assert in_store(store, scanner.scan([]).tree)[b"model/log"] == ("f", b"line 0\n")
    assert in_store(store, scanner.scan([]).tree)[b"model/log"] == ("f", b"x" * size + b"y" * 20)


@LOOKS
@pytest.mark.parametrize("more", [b"line 1\n", b"x" * LARGE_FROM])
def test_a_file_that_was_served_and_only_grows_is_taken_now_and_then(scanner, store, root, look, more, monkeypatch):
    monkeypatch.setattr(writers, "QUIET", NEVER)
    with (root / "model/log").open("ab") as file:
        file.write(more)
        file.flush()
        found = scan(scanner, look, b"model/log")
        assert found.saving == ()
        assert in_store(store, found.tree)[b"model/log"] == ("f", b"line 0\n" + more)
        file.write(more)
        file.flush()
        found = scan(scanner, look, b"model/log")  # not again so soon
        assert found.saving == (b"model/log",)
        assert 0 < found.again < writers.SHARE * 60
        monkeypatch.setattr(writers, "GROWN", 0.0)
        monkeypatch.setattr(writers, "SHARE", 0)
        found = scanner.scan([])
        assert found.saving == ()
        assert in_store(store, found.tree)[b"model/log"] == ("f", b"line 0\n" + 2 * more)


@pytest.mark.usefixtures("restless")
def test_a_file_that_grows_while_it_is_read_is_taken_as_it_was_when_that_began(scanner, store, root, monkeypatch):
    real = Store.put_file
    with (root / "model/log").open("ab", buffering=0) as file:

        def growing(self: Store, descriptor: int, before: os.stat_result, *, grows: bool) -> str:
            file.write(b"later\n")
            return real(self, descriptor, before, grows=grows)

        file.write(b"line 1\n")
        monkeypatch.setattr(Store, "put_file", growing)
        found = scanner.scan([b"model/log"])
        assert in_store(store, found.tree)[b"model/log"] == ("f", b"line 0\nline 1\n")
    monkeypatch.undo()
    assert in_store(store, scanner.scan().tree)[b"model/log"] == ("f", b"line 0\nline 1\nlater\n")


@LOOKS
def test_a_file_that_is_kept_open_is_taken_when_it_is_quiet(scanner, store, root, look, monkeypatch):
    with (root / "model/new.csv").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert scan(scanner, look, b"model/new.csv").saving == (b"model/new.csv",)
        monkeypatch.setattr(writers, "QUIET", 0.0)
        found = scanner.scan([])
        assert found.saving == ()
        assert in_store(store, found.tree)[b"model/new.csv"] == ("f", b"half")


@pytest.mark.usefixtures("restless")
def test_a_file_that_is_removed_while_it_waits_is_forgotten(scanner, store, root):
    with (root / "model/new.csv").open("wb"):
        assert scanner.scan([b"model/new.csv"]).saving == (b"model/new.csv",)
        (root / "model/new.csv").unlink()
        found = scanner.scan([])
    assert (found.saving, found.again) == ((), None)
    assert b"model/new.csv" not in in_store(store, found.tree)


@pytest.mark.usefixtures("restless")
def test_a_temporary_waits_after_its_close_and_is_served_under_its_name_only(scanner, store, root):
    write(root, b"model/.big.bin.A1b2C3", b"content")
    assert scanner.scan([b"model/.big.bin.A1b2C3"]).saving == (b"model/.big.bin.A1b2C3",)
    (root / "model/.big.bin.A1b2C3").rename(root / "model/big.bin")
    found = scanner.scan([b"model/.big.bin.A1b2C3", b"model/big.bin"])
    assert found.saving == ()
    held = in_store(store, found.tree)
    assert held[b"model/big.bin"] == ("f", b"content")
    assert b"model/.big.bin.A1b2C3" not in held


def test_a_temporary_that_was_left_behind_is_a_file_like_any_other(scanner, store, root, monkeypatch):
    monkeypatch.setattr(writers, "QUIET", 0.0)
    write(root, b"model/.big.bin.A1b2C3", b"content")
    assert in_store(store, scanner.scan().tree)[b"model/.big.bin.A1b2C3"] == ("f", b"content")


@pytest.mark.usefixtures("restless")
def test_where_the_kernel_tells_nothing_the_close_event_counts(scanner, store, root, monkeypatch):
    monkeypatch.setattr(writers, "has_writer", lambda _: None)
    write(root, b"model/a", b"2")
    assert scanner.scan([b"model/a"]).saving == (b"model/a",)
    found = scanner.scan([b"model/a"], [b"model/a"])
    assert found.saving == ()
    assert in_store(store, found.tree)[b"model/a"] == ("f", b"2")


@pytest.mark.usefixtures("restless")
def test_a_close_event_that_comes_before_the_kernel_has_closed_is_waited_for(scanner, store, root, monkeypatch):
    answers = iter([True, True, False])
    monkeypatch.setattr(writers, "has_writer", lambda _: next(answers))
    write(root, b"model/a", b"2")
    found = scanner.scan([b"model/a"], [b"model/a"])
    assert found.saving == ()
    assert in_store(store, found.tree)[b"model/a"] == ("f", b"2")


@pytest.mark.parametrize("ahead", [0, 10**12])
def test_quiet_is_also_what_was_seen_of_a_file_whatever_its_times_say(tmp_path, ahead, monkeypatch):
    """Times of the future (a clock that was set back, another machine's) must not keep a file waiting for ever."""
    path = tmp_path / "f"
    path.write_bytes(b"1")
    clock = [0.0]
    asked = Writers(lambda: clock[0])
    status = path.stat()
    monkeypatch.setattr(writers.time, "time_ns", lambda: status.st_ctime_ns - ahead)
    descriptor = os.open(path, os.O_RDONLY)
    with path.open("ab"):
        verdicts = []
        for clock[0] in (0.0, 1.0, 1.9, 2.1):
            asked.begin()
            verdicts.append(asked.judge(b"f", b"f", descriptor, status, None).value)
            asked.end([b"f"])
    os.close(descriptor)
    assert verdicts == ["wait", "wait", "wait", "take"]


def test_a_link_to_data_waits_for_nobody(root, store):
    write(root, b"a", b"1")
    linked = Scanner(root, store, kind="link")
    with (root / "a").open("ab") as file:
        before = linked.scan()
        file.write(b"more")
        file.flush()
        after = linked.scan([b"a"])
    assert (before.saving, after.saving) == ((), ())
    assert before.version != after.version


def test_files_that_are_written_by_many_at_once_are_whole_in_every_version(root, store):
    """Each writer fills files with one letter, a piece at a time; no version may hold a part of one."""
    done = threading.Event()

    def writing(letter: bytes) -> None:
        for number in range(20):
            with (root / f"{letter.decode()}{number % 4}").open("wb", buffering=0) as file:
                for _ in range(5):
                    file.write(letter * 1000)
        done.set()

    threads = [threading.Thread(target=writing, args=(letter,)) for letter in (b"a", b"b", b"c")]
    scanner = Scanner(root, store, kind="data")
    for thread in threads:
        thread.start()
    while not done.is_set():
        found = scanner.scan()
        assert {len(content) for _, content in in_store(store, found.tree).values()} <= {5000}
    for thread in threads:
        thread.join()
    assert len(in_store(store, scanner.scan().tree)) == 12
