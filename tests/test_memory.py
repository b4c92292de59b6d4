"""Memory that is free goes back to the system, which counts what we have and not what we use."""

from __future__ import annotations

import os
from pathlib import Path

from kaosd.daemon import give_back_memory

BLOCKS, SIZE = 50_000, 2_000


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_free_memory_is_given_back_although_some_above_it_is_in_use() -> None:
    blocks = [b"%d" % number + b"x" * SIZE for number in range(BLOCKS)]
    last = blocks[-1]
    del blocks
    before = resident()
    give_back_memory()
    assert before - resident() > BLOCKS * SIZE / 2
    assert last
