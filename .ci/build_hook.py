"""Builds the wheel with the man pages, made from the texts of the help: share/man/man1/kaosctl.1 and kaosd.1."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the pages in a temporary directory, and removes it after the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - as hatchling calls it
        """Add the pages to the files of the wheel."""
        sys.dont_write_bytecode = True  # the source may be somebody's checkout
        sys.path.insert(0, self.root)
        from kaosd.ctl.man_pages import write  # noqa: PLC0415 - only now it can be found

        self.made = tempfile.mkdtemp(prefix="kaosd-man-")
        build_data["shared_data"] |= {path: f"share/man/man1/{Path(path).name}" for path in write(self.made)}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was made."""
        shutil.rmtree(self.made)
