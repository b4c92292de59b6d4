"""Memory that is free goes back to the system, which counts what we have and not what we use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kaosd.bundle import Store
from kaosd.bundle.tree import Entry
from kaosd.daemon import LARGE, give_back_memory

BLOCKS, SIZE = 50_000, 2_000


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_free_memory_is_given_back_although_some_above_it_is_in_use(tmp_path: Path) -> None:
    blocks = [b"%d" % number + b"x" * SIZE for number in range(BLOCKS)]
    last = blocks[-1]
    del blocks
    before = resident()
    with contextlib.closing(Store(tmp_path / "store")) as store:
        give_back_memory(store)
    assert before - resident() > BLOCKS * SIZE / 2
    assert last


def test_what_is_kept_of_a_large_tree_is_let_go(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path / "store")) as store:
        small, large = (
            store.put_node([Entry(b"%d" % number, "f", "0" * 64, 1) for number in range(count)]) for count in (1, LARGE)
        )
        assert not store.forget_nodes(2 * LARGE)
        give_back_memory(store)
        assert not store.forget_nodes(1)
        assert [len(store.node(digest)) for digest in (small, large)] == [1, LARGE]
