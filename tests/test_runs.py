"""Which file of the notebook's root is meant by a path that a person gives to `kaosctl run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaosd.errors import NotFoundError
from kaosd.notebook.runs import path_in_root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source directory with files in and beside its root."""
    source = tmp_path / "source"
    (source / "model" / "sub").mkdir(parents=True)
    for name in ("model/a.ipynb", "model/sub/b.ipynb", "c.ipynb", "../d.ipynb"):
        (source / name).write_text("{}")
    (tmp_path / "link").symlink_to(source)
    return source


# given; the file on disk, if it is there; root; path in the root
TABLE = {
    "as JupyterLab shows it": ("sub/b.ipynb", "sub/b.ipynb", "model", "sub/b.ipynb"),
    "with a slash in front": ("/a.ipynb", "a.ipynb", "model", "a.ipynb"),
    "with the name of the root": ("model/a.ipynb", "nothing", "model", "a.ipynb"),
    "a file on disk": ("../x", "source/model/sub/b.ipynb", "model", "sub/b.ipynb"),
    "a file on disk through a link": ("../x", "link/model/a.ipynb", "model", "a.ipynb"),
    "a file at the top": ("x", "source/c.ipynb", "", "c.ipynb"),
    "a file that lies elsewhere": ("d.ipynb", "d.ipynb", "model", "d.ipynb"),
}


@pytest.mark.parametrize(("given", "disk", "root", "found"), TABLE.values(), ids=TABLE.keys())
def test_the_path_in_the_root(source: Path, given: str, disk: str, root: str, found: str) -> None:
    assert path_in_root(given, str(source.parent / disk), source, root) == found


def test_a_file_beside_the_root_is_not_deployed(source: Path) -> None:
    with pytest.raises(NotFoundError, match="is not deployed"):
        path_in_root("c.ipynb", str(source / "c.ipynb"), source, "model")


def test_a_notebook_without_a_source(tmp_path: Path) -> None:
    assert path_in_root("a.ipynb", str(tmp_path), None, "") == "a.ipynb"
