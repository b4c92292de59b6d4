"""Files that are being written, and writes that make no event: never served by halves, never called live unread."""

from __future__ import annotations

import mmap
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from tests.e2e.daemon import Daemon, until


def served(daemon: Daemon, name: str, file: str) -> bytes | None:
    """What is attached of a file of the data; None when it is not."""
    path = daemon.home(name) / "data" / file
    return path.read_bytes() if path.exists() else None


@contextmanager
def being_written(path: Path) -> Iterator[None]:
    """A program that writes one line after the other, however slowly this test gets on."""
    stop = threading.Event()

    def write(file: BinaryIO) -> None:
        while not stop.wait(0.05):
            file.write(b"row\n")

    with path.open("wb", buffering=0) as file:
        program = threading.Thread(target=write, args=[file])
        program.start()
        try:
            yield
        finally:
            stop.set()
            program.join()


def test_a_file_that_is_being_written_holds_up_nothing_but_itself(daemon: Daemon, bundle: Path, data: Path) -> None:
    daemon.deploy("half", bundle, data)
    work = daemon.home("half") / "work" / "train.py"

    def others_are_served() -> bool:
        assert served(daemon, "half", "new.csv") is None
        return work.read_text() == "ANSWER = 2\n" and served(daemon, "half", "features/one.csv") == b"a,b\n5,6\n"

    with being_written(data / "new.csv"):
        shown = until(lambda: (one := daemon.notebook("half"))["hold"] == "saving" and one, "the write to be seen")
        assert (shown["state"], shown["reason"]) == ("stale", "still being written: new.csv")
        (data / "features" / "one.csv").write_text("a,b\n5,6\n")
        (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
        until(others_are_served, "the other files")
        assert daemon.notebook("half")["state"] != "live"
    assert daemon.json("wait", "half")["outcome"] == "live"
    assert served(daemon, "half", "new.csv") == (data / "new.csv").read_bytes()


def test_a_database_that_stays_open_is_live_after_each_commit(daemon: Daemon, bundle: Path, data: Path) -> None:
    with closing(sqlite3.connect(data / "shop.db")) as connection:
        connection.execute("create table sales (x)")
        connection.commit()
        daemon.deploy("shop", bundle, data)
        for number in range(2):
            connection.execute("insert into sales values (?)", (number,))
            connection.commit()
            assert daemon.json("wait", "shop")["outcome"] == "live"
            copy = daemon.home("shop") / "data" / "shop.db"
            with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as reader:
                assert reader.execute("select count(*) from sales").fetchone() == (number + 1,)


def test_writes_through_a_map_and_through_another_name_are_found(daemon: Daemon, bundle: Path, data: Path) -> None:
    (data / "mapped").write_bytes(b"0" * 8192)
    (data / "linked").write_bytes(b"first")
    os.link(data / "linked", data.parent / "outside")
    daemon.deploy("blind", bundle, data)
    with (data / "mapped").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        for letter in (b"1", b"2", b"3"):  # the later ones change no time of the file
            mapped[0:1] = letter
            until(lambda letter=letter: (served(daemon, "blind", "mapped") or b"").startswith(letter), "the map")
    (data.parent / "outside").write_bytes(b"second")
    until(lambda: served(daemon, "blind", "linked") == b"second", "the write through the other name")
    assert daemon.json("wait", "blind")["outcome"] == "live"
    number = daemon.notebook("blind")["deployment"]["number"]
    rescans = daemon.status()["daemon"]["watch"]["rescans"]
    (bundle / "model" / "train.py").write_text("ANSWER = 3\n")
    assert daemon.json("wait", "blind")["outcome"] == "live"
    assert daemon.notebook("blind")["deployment"]["number"] == number + 1
    assert daemon.status()["daemon"]["watch"]["rescans"] <= rescans + 1
