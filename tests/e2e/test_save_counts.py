"""What a save costs the whole daemon, in counts that neither the machine nor the size of the tree changes."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from tests.e2e.daemon import Daemon, until
from tests.saving import tree
from tests.tracing import tracing

SMALL, LARGE = 20, 12_000  # the large one has more entries than the store keeps decoded
NODES = 16  # reads of the store, at most: those nodes of three trees that lead to the file, and its contents


def rows(daemon: Daemon, name: str) -> dict[str, set[int]]:
    """The rows that the journal has of a notebook, by table."""
    tables = ("deployments", "jobs", "versions", "recovered", "events")
    with sqlite3.connect(f"file:{daemon.state}/journal.sqlite?mode=ro", uri=True) as journal:
        return {
            table: {row for (row,) in journal.execute(f"SELECT rowid FROM {table} WHERE notebook = ?", [name])}
            for table in tables
        }


def save(daemon: Daemon, name: str, source: Path, trace: Path) -> tuple[dict[str, int], list[str], int, list[str]]:
    """How many rows a save adds to the journal, what is sent to the host but about its state (requests, and messages
    as "message"), the number of reads of the store's packs, and the files that are brought to the disk, in order;
    among them as "swapped" the moment in which the host has the new content.
    """
    assert daemon.process is not None
    before = rows(daemon, name)
    options = ["-f", "-y", "-s", "80", "-e", "trace=sendto,write,pread64,fsync,fdatasync,renameat2"]
    with tracing(daemon.process.pid, trace, *options):
        (source / "model" / "part0" / "part0" / "train.py").write_text(f"ANSWER = '{trace.name}'\n")
        # the one before goes where both are one line of the history, as two quick saves of a file are
        until(lambda: rows(daemon, name)["deployments"] - before["deployments"], "the deployment to start")
        daemon.live(name)
    text = trace.read_text(errors="replace")
    asked = re.findall(rf'"((?:GET|POST|PUT) /{name}/[^ ]*)', text)
    asked += ["message"] * len(re.findall(r'sendto\([^,]*, "\\201', text))  # the first byte of each in RFC 6455
    reads = re.findall(r"pread64\(\d+<[^>]*\.pack>", text)
    synced = re.findall(r"(?:fsync|fdatasync)\(\d+<([^>]*)>|(renameat2)", text)
    after = rows(daemon, name)
    added = {table: len(after[table] - before[table]) for table in after}
    lasting = ["swapped" if swapped else Path(path).name for path, swapped in synced]
    return added, [one for one in asked if "/api/" not in one], len(reads), lasting


def test_a_save_costs_one_deployment_and_one_question_to_the_host_whatever_the_tree(
    own_daemon: Daemon, tmp_path: Path
) -> None:
    daemon = own_daemon.start()
    for name, files in (("small", SMALL), ("large", LARGE)):
        tree(tmp_path / name, files)
        daemon.deploy(name, tmp_path / name)
        until(lambda name=name: daemon.notebook(name)["edits"] is not None, "the first look for edits, which reads all")
        places = [f"POST /{name}/kaosd/documents/apply", f"GET /{name}/kaosd/documents/line"]
        for number, expected in enumerate((places, ["message"])):  # the first save opens a line for those after it
            added, asked, reads, lasting = save(daemon, name, tmp_path / name, tmp_path / f"trace-{name}-{number}")
            assert added == {"deployments": 1, "jobs": 0, "versions": 1, "recovered": 0, "events": 4}, name
            assert asked == expected
            assert reads <= NODES, name
            # the rest is of the look that `live` asks for
            assert lasting[:4] == ["1.pack", "index.db-wal", "swapped", "train.py"]
