"""Runs while an image is built, in it: adds what JupyterLab needs and is not there. Standard library only."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile

NEEDED = ("jupyterlab>=4", "ipykernel>=6")
SHARED = ("jupyter-collaboration>=4",)  # left out where it does not go with what the bundle has chosen


def missing(wanted: tuple[str, ...]) -> list[str]:
    """Those requirements whose package is not installed."""
    found = []
    for requirement in wanted:
        try:
            importlib.metadata.version(requirement.partition(">=")[0])
        except importlib.metadata.PackageNotFoundError:
            found.append(requirement)
    return found


def install(*arguments: str) -> bool:
    """Whether pip could install it."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    return subprocess.call([*pip, *arguments]) == 0


def installed() -> str:
    """What is installed, as constraints."""
    lines = []
    for one in importlib.metadata.distributions():
        name, version = one.metadata["Name"], one.version
        if name and version and re.fullmatch("[0-9][0-9a-z.!+]*", version):
            lines.append(f"{name}=={version}\n")
    return "".join(sorted(set(lines)))


def main() -> None:
    """Add it. SystemExit when that cannot be done."""
    needed = missing(NEEDED)
    if needed:
        sys.stdout.write("adding to the image: " + " ".join(needed) + "\n")
        sys.stdout.flush()
        if not install(*needed):
            raise SystemExit("ERROR: JupyterLab cannot be added to the image")
    shared = missing(SHARED)
    if shared:
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(installed())
        if not install("--constraint", file.name, *shared):
            sys.stdout.write("jupyter-collaboration is left out: it cannot be installed beside the requirements\n")
        os.unlink(file.name)


if __name__ == "__main__":
    main()
