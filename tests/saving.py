"""Three saves in a tree of so many files, brought to a work directory as a notebook does: `saving.py PLACE FILES`.

Before the third, when everything is warm, it says "ready" and waits for a line: test_counts.py traces from there. A
call of access() with a telling path stands before and after each part.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kaosd.bundle import Scan, Scanner, Store, model_tree, sync

SAVED = b"model/part0/part0/train.py"


def tree(root: Path, files: int, size: int = 0) -> Path:
    """A source bundle of so many files, never more than 25 names in a directory; the file that is to be saved.

    size: bytes of noise in each, at least.
    """
    saved = root / os.fsdecode(SAVED)
    saved.parent.mkdir(parents=True)
    saved.write_text("")
    (root / "model" / "requirements.txt").write_text("")
    for number in range(files - 2):
        directory = root / "model" / f"part{number // 500}" / f"part{number // 20 % 25}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}.py").write_text(
            f"N = {number}\n# {os.urandom(size // 2).hex()}\n" if size else f"N = {number}\n"
        )
    return saved


def main(place: Path, files: int) -> None:
    """Bundle the tree, sync it, and follow three saves."""
    saved = tree(place / "root", files)
    store = Store(place / "store")
    scanner = Scanner(place / "root", store, kind="source")

    def bring(before: str | None, scan: Scan) -> str | None:
        assert scan.version is not None
        found = model_tree(store, scan.version.digest)
        sync(store, place / "work", (before,), found, place / "recovered")
        return found

    live = bring(None, scanner.scan())
    for number in range(3):
        if number == 2:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            sys.stdin.readline()
        saved.write_text(f"ANSWER = {number}\n")
        os.access("/kaosd-look", os.F_OK)
        scan = scanner.scan({SAVED})
        os.access("/kaosd-sync", os.F_OK)
        live = bring(live, scan)
        os.access("/kaosd-end", os.F_OK)
    assert (place / "work" / os.fsdecode(SAVED.removeprefix(b"model/"))).read_text() == "ANSWER = 2\n"
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
