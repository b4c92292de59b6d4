"""Which recovered copy a person means, and where it belongs."""

from __future__ import annotations

import os

import pytest

from kaosd.display import printable
from kaosd.errors import ConflictError
from kaosd.journal import Recovered
from kaosd.notebook.restoring import choose, hosted_path


def copy(path: str, file: str, deployment: int = 1) -> Recovered:
    return Recovered("n", deployment, path, file, 1, 0.0)


def test_the_newest_copy_of_a_path_or_the_very_one_of_a_file_is_meant() -> None:
    old, new, other = copy("a.py", "/r/1/a.py"), copy("a.py", "/r/2/a.py", 2), copy("b.py", "/r/1/b.py")
    copies = (old, new, other)
    assert choose(copies, "a.py") is new
    assert choose(copies, "/r/1/a.py") is old
    assert choose(copies, "b.py") is other
    assert choose(copies, "c.py") is None
    assert choose((), "a.py") is None


@pytest.mark.parametrize("name", [b"a.py", b"d/e/a b.py", b"\xff\x1b[2J", "ä/ö".encode(), b"x\ny", b"\\x1b"])
@pytest.mark.parametrize(
    "above", ["/s/recovered/20261125T101500-000000001/tabs", os.path.join("/s/recovered/t", "work", "2026-11-25")]
)
def test_the_path_comes_back_byte_for_byte(name: bytes, above: str) -> None:
    shown = printable(os.fsdecode(name))
    assert hosted_path(copy(shown, f"{above}/{os.fsdecode(name)}")) == name


@pytest.mark.parametrize("file", ["/s/other.py", "/s/../a.py", "a.py"])
def test_a_copy_from_elsewhere_is_refused(file: str) -> None:
    with pytest.raises(ConflictError, match=r"where .* belongs"):
        hosted_path(copy("../a.py" if ".." in file else "d/a.py", file))
